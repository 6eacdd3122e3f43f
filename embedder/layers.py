"""Pooled hidden states of a model's layers, as features for other programs.

Special tokens and the representation's prefix are read by the model, as always, but left out of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from core.errors import InvalidInput
from core.prompts import ControlOptions, Prompt
from core.protocols import Priority
from core.records import Float32Array, Representation
from embedder.tokens import TextTokenizer, TokenizedPrompt


class LayerPooling(StrEnum):
    """How token vectors (tokens, width) become one vector (width,)."""

    MEAN = "mean"
    MAX = "max"
    LAST_TOKEN = "last_token"  # the vector of the prompt's last token
    ABS_MAX = "abs_max"  # the maximum of the absolute values, so never negative


@runtime_checkable
class LayeredEncoder(Protocol):
    """An encoder that exposes the hidden states of its layers."""

    @property
    def name(self) -> str: ...

    @property
    def tokenizer(self) -> TextTokenizer: ...

    def layers(
        self, prompt: Prompt, representation: Representation, *, options: ControlOptions, priority: Priority
    ) -> tuple[TokenizedPrompt, list[Tensor]]:
        """The tokens that the model reads, and their vectors (tokens, width) by layer, from the first layer's input."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledLayers:
    """The requested vectors of one prompt."""

    vectors: dict[int, dict[LayerPooling, Float32Array]]  # (width,) by layer, counted from 0, and by pooling
    tokens: list[str]  # the vocabulary's names of the tokens that were pooled: the prompt's own
    truncated: bool  # whether tokens were cut off


def pooled_layers(
    encoder: LayeredEncoder,
    prompt: Prompt,
    representation: Representation,
    *,
    layers: Sequence[int],
    poolings: Sequence[LayerPooling],
    options: ControlOptions,
    normalize: bool = False,
    priority: Priority = Priority.INTERACTIVE,
) -> PooledLayers:
    """The pooled vectors of the given layers: 0 is the input of the first layer, N the output of layer N, -1 the last.

    `normalize`: scale the vectors to unit length. Raises InvalidInput for a layer that the model lacks, for a prompt
    without tokens and for an image; InvalidControl if the model takes no controls on its attention.
    """
    tokens, states = encoder.layers(prompt, representation, options=options, priority=priority)
    chosen = [_layer(number, len(states), encoder.name) for number in layers]
    own = ~(tokens.special | tokens.prefix)
    if not own.any():
        raise InvalidInput("prompt is empty: the model's tokenizer finds no token in it", param="prompt")
    return PooledLayers(
        vectors={layer: _pooled(states[layer].cpu().numpy()[own], poolings, normalize) for layer in chosen},
        tokens=encoder.tokenizer.tokens(tokens.ids[own].tolist()),
        truncated=tokens.truncated,
    )


def _layer(number: int, count: int, model: str) -> int:
    if not -count <= number < count:
        raise InvalidInput(
            f"layers: {number} is none of model {model}, which has {count - 1} layers: allowed are {-count} to "
            f"{count - 1}, where 0 is the input of the first one",
            param="layers",
        )
    return number % count


def _pooled(
    vectors: Float32Array, poolings: Sequence[LayerPooling], normalize: bool
) -> dict[LayerPooling, Float32Array]:
    found = {pooling: _POOLS[pooling](vectors) for pooling in poolings}
    if normalize:
        found = {pooling: vector / max(float(np.linalg.norm(vector)), 1e-12) for pooling, vector in found.items()}
    return found


def _mean(vectors: Float32Array) -> Float32Array:
    mean: Float32Array = vectors.mean(axis=0)
    return mean


def _max(vectors: Float32Array) -> Float32Array:
    largest: Float32Array = vectors.max(axis=0)
    return largest


_POOLS: dict[LayerPooling, Callable[[Float32Array], Float32Array]] = {
    LayerPooling.MEAN: _mean,
    LayerPooling.MAX: _max,
    LayerPooling.LAST_TOKEN: lambda vectors: vectors[-1],
    LayerPooling.ABS_MAX: lambda vectors: _max(np.abs(vectors)),
}
