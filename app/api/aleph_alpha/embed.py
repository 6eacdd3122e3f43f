"""/semantic_embed and /batch_semantic_embed: embed prompts as vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import FailFast, Field

from app.api.aleph_alpha.bodies import Answer, JsonBody, SteeredBody
from app.api.aleph_alpha.names import model_version
from app.api.aleph_alpha.prompts import PromptBody, to_prompt
from app.api.bodies import parsed, placed
from app.api.dependencies import Parts
from app.api.serialized import serialized
from app.wiring import Wiring
from core.errors import InvalidInput
from core.prompts import ImageItem, Prompt, PromptItem, TextItem, TokenIdsItem
from core.protocols import Encoder
from core.records import Embeddings, Representation

router = APIRouter()

MAX_BATCH = 100  # prompts of one request
COMPRESSED_SIZE = 128
EMBEDDING_TYPES = {
    "symmetric": Representation.SYMMETRIC,
    "asymmetric_document": Representation.DOCUMENT,
    "asymmetric_query": Representation.QUERY,
}


class SemanticBody(SteeredBody):
    representation: Literal["symmetric", "document", "query"]
    compress_to_size: Literal[128] | None = None
    normalize: bool = False  # no effect: vectors here always have unit length, and cosines do not depend on it


class PromptRequest(SemanticBody):
    model: str
    prompt: PromptBody


class BatchRequest(SemanticBody):
    model: str | None = None  # None: the main model; clients may leave it out here
    prompts: Annotated[list[PromptBody], FailFast(), Field(min_length=1, max_length=MAX_BATCH)]


class Embedding(Answer):
    embedding: list[float]
    num_tokens_prompt_total: int  # as /tokenize counts: without special tokens and the representation's prefix
    message: str | None  # set if the model did not read all of the prompt


class EmbeddingBatch(Answer):
    embeddings: list[list[float]]
    num_tokens_prompt_total: int
    message: str | None


@router.post("/semantic_embed")
@serialized
def semantic_embed(parts: Parts, body: JsonBody) -> Embedding:
    """Embed one prompt as one vector."""
    asked = parsed(PromptRequest, body)
    found = _embedded(parts, asked, {"prompt": to_prompt(asked.prompt)})
    return Embedding(
        model_version=found.model_version,
        embedding=found.embeddings[0],
        num_tokens_prompt_total=found.num_tokens_prompt_total,
        message=found.message,
    )


@router.post("/batch_semantic_embed")
@serialized
def batch_semantic_embed(parts: Parts, body: JsonBody) -> EmbeddingBatch:
    """Embed up to 100 prompts, one vector for each, in order."""
    asked = parsed(BatchRequest, body)
    bodies = {f"prompts[{index}]": items for index, items in enumerate(asked.prompts)}
    return _embedded(parts, asked, {place: to_prompt(items, place) for place, items in bodies.items()})


def _embedded(parts: Wiring, asked: PromptRequest | BatchRequest, prompts: Mapping[str, Prompt]) -> EmbeddingBatch:
    """Embed `prompts`, keyed by their place in the request."""
    encoder = parts.models.encoder(asked.model)
    if asked.compress_to_size is not None:
        from embedder.projection import compressed  # torch takes seconds to import

        encoder = compressed(encoder, asked.compress_to_size, fitted=parts.models.fitted_projections)
    representation = Representation(asked.representation)
    with placed(list(prompts)):
        found = encoder.encode(list(prompts.values()), representation, options=asked.options())
    return EmbeddingBatch(
        model_version=model_version(encoder),
        embeddings=found.vectors.tolist(),
        num_tokens_prompt_total=_own_tokens(encoder, prompts, representation, found),
        message=_cut_message(encoder, prompts, found),
    )


def _own_tokens(
    encoder: Encoder, prompts: Mapping[str, Prompt], representation: Representation, found: Embeddings
) -> int:
    """The number of tokens of all prompts, without special tokens. Raises InvalidInput for a prompt without any.

    A remote model may only report a total, which is then divided among the prompts: each counts as one token at least.
    """
    overhead = encoder.overhead(representation)  # for prompts that are not only images
    total = 0
    for (place, prompt), count in zip(prompts.items(), found.token_counts.tolist(), strict=True):
        own = count if all(isinstance(item, ImageItem) for item in prompt.items) else count - overhead
        if own <= 0 and not any(_has_tokens(encoder, item) for item in prompt.items):
            raise InvalidInput(f"{place} is empty: the model's tokenizer finds no token in it", param=place)
        total += max(own, 1)
    return total


def _has_tokens(encoder: Encoder, item: PromptItem) -> bool:
    match item:
        case TextItem():
            return len(encoder.token_spans(item.text)) > 0
        case TokenIdsItem():
            return bool(item.ids)
        case ImageItem():
            return True


def _cut_message(encoder: Encoder, prompts: Mapping[str, Prompt], found: Embeddings) -> str | None:
    cut = ", ".join(place for place, truncated in zip(prompts, found.truncated, strict=True) if truncated)
    return f"the model reads {encoder.max_tokens} tokens, special ones included; longer, so cut: {cut}" if cut else None
