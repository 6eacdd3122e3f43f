"""Calls a server by every method that aleph-alpha-client documents, sync and async; prints what came of it as JSON.

Runs under version 7.1.0 as under the newest one; methods that a version lacks are left out.
"""

import asyncio
import dataclasses
import enum
import json
import sys
import warnings

import aleph_alpha_client as aleph
from aleph_alpha_client import (
    AsyncClient,
    BatchSemanticEmbeddingRequest,
    Client,
    CompletionRequest,
    ControlTokenOverlap,
    CustomGranularity,
    DetokenizationRequest,
    EmbeddingRequest,
    EvaluationRequest,
    ExplanationPostprocessing,
    ExplanationRequest,
    Image,
    ImageControl,
    Prompt,
    PromptGranularity,
    SemanticEmbeddingRequest,
    SemanticRepresentation,
    TargetGranularity,
    Text,
    TextControl,
    TokenControl,
    TokenizationRequest,
    Tokens,
)

warnings.simplefilter("ignore", DeprecationWarning)

MODEL = "luminous-base"
TEXT = "I want to play on my TV."
ROCK = "The rock is grey. Lions eat meat. It rained on Monday.\n\nBread is sold here."
SUBJECT = "wild animals"
SYMMETRIC, DOCUMENT, QUERY = (
    SemanticRepresentation.Symmetric,
    SemanticRepresentation.Document,
    SemanticRepresentation.Query,
)


def semantic(prompt, representation=QUERY, **options):
    return SemanticEmbeddingRequest(prompt=prompt, representation=representation, **options)


def emphasised(factor, length=4, **options):
    """TEXT with a control on "play", or on its first characters."""
    return Prompt.from_text(TEXT, controls=[TextControl(start=10, length=length, factor=factor, **options)])


def explanation(prompt, target=SUBJECT, **options):
    return ExplanationRequest(prompt=prompt, target=target, **options)


def calls(images):
    """Name -> method, request, model."""
    plain = Prompt.from_text(TEXT)
    steered = emphasised(7)
    ids = [1045, 2215, 2000, 2377, 2006, 2026, 2694, 1012]  # of TEXT in the main model's vocabulary
    mixed = Prompt([Text.from_text("I want to"), Tokens(ids[3:], controls=[TokenControl(pos=0, factor=7)])])
    rock = Prompt.from_text(ROCK)
    many = BatchSemanticEmbeddingRequest(
        prompts=[Prompt.from_text(f"number {i}") for i in range(130)], representation=DOCUMENT
    )
    embedding = EmbeddingRequest(
        prompt=plain, layers=[0, 2, -1], pooling=["mean", "max", "last_token", "abs_max"], tokens=True
    )
    completion = {"prompt": Prompt.from_text("Andreas likes"), "maximum_tokens": 12}
    found = {
        "tokenize": ("tokenize", TokenizationRequest(prompt=TEXT, tokens=True, token_ids=True), MODEL),
        "tokenize_ids": ("tokenize", TokenizationRequest(prompt=TEXT, tokens=False, token_ids=True), MODEL),
        "detokenize": ("detokenize", DetokenizationRequest(token_ids=ids), MODEL),
        "semantic": ("semantic_embed", semantic(plain), MODEL),
        "semantic_symmetric": ("semantic_embed", semantic(plain, SYMMETRIC, normalize=True), MODEL),
        "semantic_steered": ("semantic_embed", semantic(steered), MODEL),
        "semantic_identity": ("semantic_embed", semantic(emphasised(1), control_log_additive=False), MODEL),
        "semantic_null": ("semantic_embed", semantic(steered, control_log_additive=None), MODEL),
        "semantic_multiplied": ("semantic_embed", semantic(steered, control_log_additive=False), MODEL),
        "semantic_partial": ("semantic_embed", semantic(emphasised(7, 2)), MODEL),
        "semantic_halved": ("semantic_embed", semantic(emphasised(4)), MODEL),
        "semantic_complete": (
            "semantic_embed",
            semantic(emphasised(7, 2, token_overlap=ControlTokenOverlap.Complete)),
            MODEL,
        ),
        "semantic_contextual": (
            "semantic_embed",
            semantic(
                Prompt.from_text("play a game", controls=[TextControl(start=0, length=4, factor=5)]),
                contextual_control_threshold=0.3,
            ),
            MODEL,
        ),
        "semantic_explicit": (
            "semantic_embed",
            semantic(Prompt.from_text("play a game", controls=[TextControl(start=0, length=4, factor=5)])),
            MODEL,
        ),
        "semantic_ids": ("semantic_embed", semantic(Prompt.from_tokens(ids)), MODEL),
        "semantic_mixed": ("semantic_embed", semantic(mixed), MODEL),
        "semantic_long": ("semantic_embed", semantic(Prompt.from_text("word " * 500)), MODEL),
        "compressed": ("semantic_embed", semantic(plain, compress_to_size=128), MODEL),
        "batch": ("batch_semantic_embed", many, MODEL),
        "batch_without_model": (
            "batch_semantic_embed",
            BatchSemanticEmbeddingRequest(prompts=[plain, steered], representation=QUERY, compress_to_size=128),
            None,
        ),
        "embed": ("embed", embedding, MODEL),
        "embed_normalized": (
            "embed",
            EmbeddingRequest(prompt=steered, layers=[-1], pooling=["mean"], normalize=True, type="asymmetric_query"),
            MODEL,
        ),
        "explain": ("explain", explanation(rock), MODEL),
        "explain_by_token": (
            "explain",
            explanation(
                rock, target_granularity=TargetGranularity.Token, prompt_granularity=PromptGranularity.Sentence
            ),
            MODEL,
        ),
        "explain_normalized": (
            "explain",
            explanation(
                rock,
                prompt_granularity="sentence",
                normalize=True,
                control_factor=0.0,
                control_log_additive=True,
                control_token_overlap=ControlTokenOverlap.Complete,
            ),
            MODEL,
        ),
        "explain_absolute": (
            "explain",
            explanation(
                rock,
                prompt_granularity=PromptGranularity.Word,
                postprocessing=ExplanationPostprocessing.Absolute,
                contextual_control_threshold=0.9,
            ),
            MODEL,
        ),
        "explain_square": (
            "explain",
            explanation(
                rock,
                prompt_granularity=PromptGranularity.Word,
                postprocessing=ExplanationPostprocessing.Square,
                contextual_control_threshold=0.9,
            ),
            MODEL,
        ),
        "explain_custom": (
            "explain",
            explanation(Prompt.from_text("rocks###lions###bread"), prompt_granularity=CustomGranularity("###")),
            MODEL,
        ),
        "explain_mixed": ("explain", explanation(mixed, prompt_granularity=PromptGranularity.Word), MODEL),
        "explain_causal": (
            "explain",
            explanation(Prompt.from_text("Andreas likes"), " pizza", target_granularity=TargetGranularity.Token),
            "writer",
        ),
        "evaluate": (
            "evaluate",
            EvaluationRequest(prompt=Prompt.from_text("Andreas likes"), completion_expected=" pizza"),
            "writer",
        ),
        "complete": ("complete", CompletionRequest(**completion, tokens=True, log_probs=2), "writer"),
        "complete_echo": ("complete", CompletionRequest(**completion, echo=True), "writer"),
        "complete_several": (
            "complete",
            CompletionRequest(
                **completion, n=2, best_of=4, temperature=1.0, top_k=20, top_p=0.9, raw_completion=True,
                presence_penalty=0.5, frequency_penalty=0.5, sequence_penalty=0.5, penalty_bias="pizza",
                repetition_penalties_include_prompt=True, penalty_exceptions=["."], stop_sequences=["zzz"],
                logit_bias={5: -3.0}, minimum_tokens=2, completion_bias_exclusion=["lake"],
            ),
            "writer",
        ),
        "complete_included": (
            "complete",
            CompletionRequest(**completion, completion_bias_inclusion=[" pizza", " lake"]),
            "writer",
        ),
        "complete_steered": (
            "complete",
            CompletionRequest(
                prompt=Prompt.from_text("Andreas likes", controls=[TextControl(start=0, length=7, factor=0.0)]),
                maximum_tokens=12,
            ),
            "writer",
        ),
        "complete_unconditional": (
            "complete", CompletionRequest(prompt=Prompt.from_text(""), maximum_tokens=3), "writer"
        ),
        "no_such_model": ("semantic_embed", semantic(plain), "luminous-tiny"),
        "no_causal_model": ("complete", CompletionRequest(**completion), MODEL),
        "no_such_size": ("semantic_embed", semantic(plain, compress_to_size=64), MODEL),
        "no_such_id": ("semantic_embed", semantic(Prompt.from_tokens([10**6])), MODEL),
        "empty_prompt": ("semantic_embed", semantic(Prompt([])), MODEL),
        "negative_factor": ("semantic_embed", semantic(emphasised(-1)), MODEL),
        "control_outside": (
            "semantic_embed",
            semantic(Prompt.from_text(TEXT, controls=[TextControl(start=100, length=1, factor=2)])),
            MODEL,
        ),
        "no_such_layer": ("embed", EmbeddingRequest(prompt=plain, layers=[7], pooling=["mean"]), MODEL),
        "image_to_a_text_model": ("semantic_embed", semantic(Prompt.from_image(images[0])), MODEL),
        "image": ("semantic_embed", semantic(Prompt.from_image(images[0]), DOCUMENT), "vision"),
        "image_cropped": ("semantic_embed", semantic(Prompt.from_image(images[1]), DOCUMENT), "vision"),
        "image_steered": ("semantic_embed", semantic(Prompt.from_image(images[2]), DOCUMENT), "vision"),
        "image_and_text": (
            "batch_semantic_embed",
            BatchSemanticEmbeddingRequest(
                prompts=[Prompt([images[0], Text.from_text("a red car")]), Prompt.from_text("a red car")],
                representation=SYMMETRIC,
            ),
            "vision",
        ),
        "explain_image": (
            "explain",
            explanation(
                Prompt([images[0], Text.from_text("a red car")]),
                "car",
                prompt_granularity=PromptGranularity.Sentence,
            ),
            "vision",
        ),
    }  # fmt: skip
    if hasattr(aleph, "QaRequest"):
        document = aleph.Document.from_text("Andreas likes pizza.")
        found["qa"] = ("qa", aleph.QaRequest(query="Who likes pizza?", documents=[document]))
        found["summarize"] = ("summarize", aleph.SummarizationRequest(document=document))
    return found


def plain(value):
    """Results as JSON; a dataclass names its class."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, dict):
        keys = (".".join(key) if isinstance(key, tuple) else key for key in value)
        return dict(zip(keys, map(plain, value.values()), strict=True))
    if isinstance(value, enum.Enum):
        return value.value
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def failure(error):
    status, body = error.args
    return {"error": type(error).__name__, "status": status, **{f"body_{k}": v for k, v in json.loads(body).items()}}


def in_turn(client, wanted):
    results = {}
    for name, (method, *arguments) in wanted.items():
        try:
            results[name] = plain(getattr(client, method)(*arguments))
        except (ValueError, PermissionError, RuntimeError) as error:
            results[name] = failure(error)
    return results


async def at_once(client, wanted):
    async def call(method, *arguments):
        try:
            return plain(await getattr(client, method)(*arguments))
        except (ValueError, PermissionError, RuntimeError) as error:
            return failure(error)

    results = await asyncio.gather(*[call(*call_) for call_ in wanted.values()])
    return dict(zip(wanted, results, strict=True))


def shown_tokenizer(tokenizer):
    encoding = tokenizer.encode(TEXT)
    return {"ids": encoding.ids, "tokens": encoding.tokens, "text": tokenizer.decode(encoding.ids)}


def refused(host):
    try:
        return Client(token="not-the-token", host=host).get_version()
    except PermissionError as error:
        return failure(error)


async def asynchronous(token, host, wanted):
    async with AsyncClient(token=token, host=host, nice=True, hosting="aleph-alpha", tags=["test"]) as client:
        await client.validate_version()
        results = await at_once(client, wanted)
        results["version"] = await client.get_version()
        results["models"] = await client.models()
        results["tokenizer"] = shown_tokenizer(await client.tokenizer(MODEL))
        batch = BatchSemanticEmbeddingRequest(
            prompts=[Prompt.from_text(f"number {i}") for i in range(130)], representation=DOCUMENT
        )
        several = await client.batch_semantic_embed(batch, MODEL, num_concurrent_requests=4, batch_size=20)
        results["batch_in_several"] = plain(several)
        if hasattr(client, "complete_with_streaming"):
            request = CompletionRequest(prompt=Prompt.from_text("Andreas likes"), maximum_tokens=12)
            results["stream"] = [plain(item) async for item in client.complete_with_streaming(request, "writer")]
        return results


def main(host, token, image):
    images = [
        Image.from_file(image),
        Image.from_file_with_cropping(image, 10, 20, 100),
        Image.from_file(image, controls=[ImageControl(left=0.3, top=0.3, width=0.2, height=0.2, factor=0.1)]),
    ]
    wanted = calls(images)
    client = Client(token=token, host=host, hosting=None)
    client.validate_version()
    results = in_turn(client, wanted)
    results["version"] = client.get_version()
    results["models"] = client.models()
    results["tokenizer"] = shown_tokenizer(client.tokenizer(MODEL))
    results["wrong_token"] = refused(host)
    pixels = client.explain(wanted["explain_image"][1], "vision").with_image_prompt_items_in_pixels(
        wanted["explain_image"][1].prompt
    )
    results["explain_image_in_pixels"] = plain(pixels)
    results["explain_with_text"] = plain(
        client.explain(wanted["explain_normalized"][1], MODEL).with_text_from_prompt(wanted["explain_normalized"][1])
    )
    both = {"sync": results, "async": asyncio.run(asynchronous(token, host, wanted))}
    sys.stdout.write(json.dumps(both))


main(*sys.argv[1:])
