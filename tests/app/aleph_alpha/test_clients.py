"""Both versions of the public client, sync and async, against a running server: every method that they document."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from core.prompts import Prompt, TextControl
from core.records import Float32Array, Representation
from embedder.local import LocalEncoder

TEXT = "I want to play on my TV."
IDS = [1045, 2215, 2000, 2377, 2006, 2026, 2694, 1012]
ROCK = "The rock is grey. Lions eat meat. It rained on Monday.\n\nBread is sold here."
SENTENCES = ["The rock is grey.", "Lions eat meat.", "It rained on Monday.", "Bread is sold here."]


def vector(got: dict[str, Any], name: str) -> Float32Array:
    return np.array(got[name]["embedding"], dtype=np.float32)


def cosine(got: dict[str, Any], first: str, second: str) -> float:
    return float(vector(got, first) @ vector(got, second))


def scores(explanation: dict[str, Any], item: int = 0) -> list[float]:
    return [score["score"] for score in explanation["items"][item]["scores"]]


def texts(explanation: dict[str, Any], text: str) -> list[str]:
    return [text[s["start"] : s["start"] + s["length"]] for s in explanation["items"][0]["scores"]]


def test_version_and_models(got: dict[str, Any]) -> None:
    assert got["version"] == "1.19.0"
    models = {model["name"]: model for model in got["models"]}
    assert set(models) == {"default", "luminous-base", "luminous-explore", "writer", "vision"}
    assert models["luminous-base"]["description"] == "other name of default, a dense model"
    assert models["default"]["max_context_size"] == 256
    kinds = ["symmetric", "asymmetric_document", "asymmetric_query"]
    assert models["luminous-base"]["embedding_types"] == [*kinds, *(f"{kind}_128" for kind in kinds)]
    assert models["vision"]["embedding_types"] == kinds
    assert (models["vision"]["image_support"], models["default"]["image_support"]) == (True, False)
    assert (models["writer"]["embedding_types"], models["writer"]["maximum_completion_tokens"]) == ([], 128)
    assert models["default"]["maximum_completion_tokens"] == 0
    for model in models.values():
        assert [model[flag] for flag in ("qa_support", "summarization_support", "aligned")] == [False] * 3


def test_tokens_are_those_of_the_shipped_tokenizer(got: dict[str, Any]) -> None:
    assert got["tokenize"]["token_ids"] == got["tokenizer"]["ids"] == IDS
    assert got["tokenize"]["tokens"] == got["tokenizer"]["tokens"]
    assert got["detokenize"]["result"] == got["tokenizer"]["text"] == "i want to play on my tv."
    assert (got["tokenize_ids"]["tokens"], got["tokenize_ids"]["token_ids"]) == (None, IDS)


def test_semantic_vectors_are_the_encoders(got: dict[str, Any], encoder: LocalEncoder) -> None:
    steered = Prompt.of(TEXT, (TextControl(start=10, length=4, factor=7),))
    expected = encoder.encode([Prompt.of(TEXT), steered], Representation.QUERY).vectors
    assert vector(got, "semantic") == pytest.approx(expected[0], abs=1e-5)
    assert vector(got, "semantic_steered") == pytest.approx(expected[1], abs=1e-5)
    assert got["semantic"]["num_tokens_prompt_total"] == len(IDS)
    assert got["semantic"]["model_version"] == f"{encoder.name}-{encoder.fingerprint[:12]}"
    assert np.linalg.norm(vector(got, "semantic_symmetric")) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "same"),
    [
        ("semantic_identity", "semantic"),  # a factor of 1, multiplicative
        ("semantic_ids", "semantic"),
        ("semantic_null", "semantic_steered"),  # control_log_additive null is true
        ("semantic_mixed", "semantic_steered"),  # half a text, half token ids
        ("semantic_complete", "semantic_steered"),  # two of four characters, in full
        ("semantic_partial", "semantic_halved"),  # two of four characters at 7: the token at 4
    ],
)
def test_two_ways_to_say_the_same(got: dict[str, Any], call: str, same: str) -> None:
    assert cosine(got, call, same) > 0.99999


@pytest.mark.parametrize(
    ("call", "other"),
    [
        ("semantic_steered", "semantic"),
        ("semantic_multiplied", "semantic_steered"),
        ("semantic_partial", "semantic_steered"),
        ("semantic_contextual", "semantic_explicit"),
    ],
)
def test_controls_act(got: dict[str, Any], call: str, other: str) -> None:
    assert cosine(got, call, other) < 0.999


def test_a_cut_is_said(got: dict[str, Any]) -> None:
    assert got["semantic_long"]["num_tokens_prompt_total"] == 254
    assert got["semantic_long"]["message"].endswith("256 tokens, special ones included; longer, so cut: prompt")
    assert got["semantic"]["message"] is None


def test_128_dimensions(got: dict[str, Any]) -> None:
    short = vector(got, "compressed")
    assert (short.shape, np.linalg.norm(short)) == ((128,), pytest.approx(1, abs=1e-5))
    together = np.array(got["batch_without_model"]["embeddings"])
    assert together[0] == pytest.approx(short, abs=1e-5)
    assert together[1] @ together[0] < 0.999
    assert got["compressed"]["model_version"] != got["semantic"]["model_version"]


def test_a_batch_keeps_its_order(got: dict[str, Any], encoder: LocalEncoder) -> None:
    found = np.array(got["batch"]["embeddings"])
    prompts = [Prompt.of(f"number {i}") for i in range(130)]
    assert found == pytest.approx(encoder.encode(prompts, Representation.DOCUMENT).vectors, abs=1e-5)
    assert got["batch"]["num_tokens_prompt_total"] == 2 * 130
    if "batch_in_several" in got:
        assert np.array(got["batch_in_several"]["embeddings"]) == pytest.approx(found, abs=1e-5)


def test_layers(got: dict[str, Any]) -> None:
    embeddings = got["embed"]["embeddings"]
    assert set(embeddings) == {f"layer_{n}.{p}" for n in (0, 2, 6) for p in ("mean", "max", "last_token", "abs_max")}
    assert {len(vector) for vector in embeddings.values()} == {384}
    assert got["embed"]["tokens"] == got["tokenize"]["tokens"]
    assert got["embed"]["num_tokens_prompt_total"] == len(IDS)
    normalized = got["embed_normalized"]
    assert math.hypot(*normalized["embeddings"]["layer_6.mean"]) == pytest.approx(1, abs=1e-5)
    assert normalized["tokens"] is None


def test_explain_finds_the_cause_at_every_granularity(got: dict[str, Any]) -> None:
    for call in ("explain_normalized", "explain_by_token"):
        whole = got[call]["explanations"][-1]
        assert texts(whole, ROCK) == SENTENCES
    assert max(scores(got["explain_normalized"]["explanations"][0])) == 1.0
    assert np.argmax(scores(got["explain_normalized"]["explanations"][0])) == 1  # "Lions eat meat."
    assert min(scores(got["explain_normalized"]["explanations"][0])) == 0.0
    [automatic] = got["explain"]["explanations"]
    assert len(scores(automatic)) == 19  # tokens are nearest to 30
    assert texts(automatic, ROCK)[:5] == ["The", "rock", "is", "grey", "."]
    [custom] = got["explain_custom"]["explanations"]
    assert texts(custom, "rocks###lions###bread") == ["rocks", "lions", "bread"]
    assert np.argmax(scores(custom)) == 1


def test_explain_by_target_token(got: dict[str, Any]) -> None:
    by_token = got["explain_by_token"]["explanations"]
    assert "".join(explanation["target"] for explanation in by_token) == "wild animals"
    assert [len(explanation["items"][-1]["scores"]) for explanation in by_token] == [0, 1]
    assert {explanation["items"][-1]["class"] for explanation in by_token} == {"TargetPromptItemExplanation"}


def test_explain_postprocessing(got: dict[str, Any]) -> None:
    [absolute], [square] = got["explain_absolute"]["explanations"], got["explain_square"]["explanations"]
    assert min(scores(absolute)) >= 0
    assert scores(square) == pytest.approx(np.square(scores(absolute)), abs=1e-5)
    assert len(scores(square)) == len(ROCK.split())


def test_explain_token_ids(got: dict[str, Any]) -> None:
    [explanation] = got["explain_mixed"]["explanations"]
    kinds = [item["class"] for item in explanation["items"]]
    assert kinds == ["TextPromptItemExplanation", "TokenPromptItemExplanation", "TargetPromptItemExplanation"]
    assert [len(item["scores"]) for item in explanation["items"]] == [3, 5, 0]


def test_explain_images(got: dict[str, Any]) -> None:
    [explanation] = got["explain_image"]["explanations"]
    image, text, target = explanation["items"]
    assert [item["class"] for item in (image, text)] == ["ImagePromptItemExplanation", "TextPromptItemExplanation"]
    assert target["scores"] == []
    assert [(s["left"], s["top"]) for s in image["scores"][:4]] == [
        pytest.approx(place) for place in ((0, 0), (1 / 3, 0), (2 / 3, 0), (0, 1 / 3))
    ]
    assert len(image["scores"]) == 9
    assert len({score["score"] for score in image["scores"]}) > 1


def test_explain_with_a_causal_model(got: dict[str, Any]) -> None:
    explanations = got["explain_causal"]["explanations"]
    assert "".join(explanation["target"] for explanation in explanations) == " pizza"
    assert [len(each["items"][-1]["scores"]) for each in explanations] == [0, 0, 1]
    assert got["explain_causal"]["model_version"].startswith("writer-")


def test_evaluate(got: dict[str, Any]) -> None:
    result = got["evaluate"]["result"]
    assert result["log_probability"] == -result["log_perplexity"] < 0
    assert result["log_perplexity_per_token"] == pytest.approx(result["log_perplexity"] / result["token_count"])
    assert result["log_perplexity_per_character"] == pytest.approx(result["log_perplexity"] / len(" pizza"))
    assert (result["correct_greedy"], result["character_count"]) == (False, 6)
    assert isinstance(result["completion"], str)


def test_complete(got: dict[str, Any]) -> None:
    [completion] = got["complete"]["completions"]
    assert (completion["finish_reason"], got["complete"]["num_tokens_generated"]) == ("maximum_tokens", 12)
    assert len(completion["completion_tokens"]) == len(completion["log_probs"]) == 12
    assert all(len(top) >= 2 for top in completion["log_probs"])
    assert got["complete_echo"]["completions"][0]["completion"] == "Andreas likes" + completion["completion"]
    assert got["complete_steered"]["completions"][0]["completion"] != completion["completion"]
    assert got["complete_included"]["completions"][0]["completion"] in (" pizza", " lake")
    assert len(got["complete_several"]["completions"]) == 2
    assert got["complete_several"]["num_tokens_prompt_total"] == 4 * got["complete"]["num_tokens_prompt_total"]
    assert got["complete_unconditional"]["num_tokens_generated"] <= 3
    if "stream" in got:
        chunk, end, whole = got["stream"]
        assert chunk["completion"] == completion["completion"]
        assert (end["finish_reason"], whole["num_tokens_generated"]) == ("maximum_tokens", 12)


def test_images(got: dict[str, Any]) -> None:
    for name in ("image", "image_cropped", "image_steered"):
        assert np.linalg.norm(vector(got, name)) == pytest.approx(1, abs=1e-5)
        assert got[name]["num_tokens_prompt_total"] == 16  # the tower's patches
    assert cosine(got, "image", "image_cropped") < 0.9999
    assert cosine(got, "image", "image_steered") < 0.999999
    mixed, text = np.array(got["image_and_text"]["embeddings"])
    joined = vector(got, "image") + text
    assert mixed == pytest.approx(joined / np.linalg.norm(joined), abs=1e-4)
    assert got["image_and_text"]["num_tokens_prompt_total"] == 16 + 3 + 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("no_such_model", "there is no model 'luminous-tiny' here"),
        ("no_causal_model", "ask for one of writer"),
        ("no_such_size", "compress_to_size: Input should be 128"),
        ("no_such_id", "token id 1000000 is not in the model's vocabulary"),
        ("empty_prompt", "prompt has no items"),
        ("negative_factor", "control factor -1.0"),
        ("control_outside", "starts behind the text's end"),
        ("no_such_layer", "allowed are -7 to 6"),
        ("image_to_a_text_model", "reads no images"),
    ],
)
def test_faults_are_value_errors(got: dict[str, Any], call: str, said: str) -> None:
    assert (got[call]["error"], got[call]["status"]) == ("ValueError", 400)
    assert said in got[call]["body_error"]
    assert got[call]["body_code"] == got[call]["body_code"].upper()


def test_calls_that_are_gone_are_answered_410(got: dict[str, Any]) -> None:
    for call in ("qa", "summarize"):
        if call in got:  # newer clients have neither
            assert (got[call]["error"], got[call]["status"], got[call]["body_code"]) == ("RuntimeError", 410, "GONE")


def test_a_wrong_token_is_a_permission_error(got: dict[str, Any]) -> None:
    if "wrong_token" in got:
        assert (got["wrong_token"]["error"], got["wrong_token"]["body_code"]) == ("PermissionError", "UNAUTHORIZED")


def test_the_clients_own_helpers(got: dict[str, Any]) -> None:
    if "explain_with_text" in got:
        [named] = got["explain_with_text"]["explanations"]
        assert [score["text"] for score in named["items"][0]["scores"]] == SENTENCES
        [image, *_] = got["explain_image_in_pixels"]["explanations"][0]["items"]
        assert image["scores"][1]["left"] > 1
