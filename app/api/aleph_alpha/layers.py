"""/embed: a prompt's token vectors after any of the model's layers, pooled."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import FailFast, Field

from app.api.aleph_alpha.bodies import Answer, JsonBody, SteeredBody
from app.api.aleph_alpha.embed import EMBEDDING_TYPES
from app.api.aleph_alpha.names import model_version
from app.api.aleph_alpha.prompts import PromptBody, to_prompt
from app.api.bodies import parsed
from app.api.dependencies import Parts
from app.api.serialized import serialized
from core.errors import InvalidInput
from core.prompts import ControlOptions, ControlTarget

router = APIRouter()

MAX_LAYERS = 1_000  # entries of `layers`, including repeated ones
MAX_POOLINGS = 100


class LayersRequest(SteeredBody):
    model: str
    prompt: PromptBody
    layers: Annotated[list[int], FailFast(), Field(min_length=1, max_length=MAX_LAYERS)]
    pooling: Annotated[
        list[Literal["mean", "max", "last_token", "abs_max"]],
        FailFast(),
        Field(min_length=1, max_length=MAX_POOLINGS),
    ]
    type: Literal["symmetric", "asymmetric_document", "asymmetric_query"] = "symmetric"
    tokens: bool = False
    normalize: bool = False

    def options(self) -> ControlOptions:
        """Controls act on the attention alone, so that each pooling is what its name says: the mean is unweighted."""
        return replace(super().options(), target=ControlTarget.ATTENTION)


class LayerEmbeddings(Answer):
    embeddings: dict[str, dict[str, list[float]]]  # by "layer_N", N counted from 0, then by pooling
    tokens: list[str] | None
    num_tokens_prompt_total: int
    message: str | None


@router.post("/embed")
@serialized
def embed(parts: Parts, body: JsonBody) -> LayerEmbeddings:
    """Embed one prompt by the chosen layers, pooled over the prompt's own tokens."""
    asked = parsed(LayersRequest, body)
    from embedder.layers import LayeredEncoder, LayerPooling, pooled_layers  # torch takes seconds to import

    encoder = parts.models.encoder(asked.model)
    if not isinstance(encoder, LayeredEncoder):
        raise InvalidInput(f"model {asked.model} does not show its layers; use /semantic_embed", param="model")
    found = pooled_layers(
        encoder,
        to_prompt(asked.prompt),
        EMBEDDING_TYPES[asked.type],
        layers=asked.layers,
        poolings=[LayerPooling(pooling) for pooling in asked.pooling],
        options=asked.options(),
        normalize=asked.normalize,
    )
    return LayerEmbeddings(
        model_version=model_version(encoder),
        embeddings={
            f"layer_{layer}": {pooling.value: vector.tolist() for pooling, vector in vectors.items()}
            for layer, vectors in found.vectors.items()
        },
        tokens=found.tokens if asked.tokens else None,
        num_tokens_prompt_total=len(found.tokens),
        message=f"the model reads {encoder.max_tokens} tokens: the rest was cut off" if found.truncated else None,
    )
