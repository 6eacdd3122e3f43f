"""The transformer inside an encoder: token ids to token vectors, with factors on the attention.

Texts lie one behind the other, without padding: a batch of texts is one matrix of all their tokens ("packed"). So
nothing that a text is batched with can touch its vectors, and no arithmetic is spent on padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.records import Float32Array, Int64Array
from embedder.precision import Precision

TOLERANCE = 1e-4  # largest difference of a component that fp32 rounding may cause


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFactors:
    """One factor per token of a packed batch, acting on the token as a key of the attention."""

    values: Tensor  # (tokens,) >= 0, float32, 1 where nothing is steered
    log_additive: bool  # add log f to the scores; else scale (score - minimum) by f


class Backbone(Protocol):
    """A loaded transformer. Thread-safe."""

    @property
    def width(self) -> int:
        """Length of a token vector."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def precision(self) -> Precision:
        """What it computes in; never AUTO."""
        ...

    @property
    def keeps_slots(self) -> bool:
        """Whether texts of as many `embedder.batching.attention_slots` do not change one another's vectors by a bit."""
        ...

    @property
    def attention_problem(self) -> str:
        """Why factors cannot act on this model's attention; empty where they can."""
        ...

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        """(tokens, width) float32: the last layer's vectors of all texts' tokens, packed in the order of `ids`."""
        ...

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        """The states of all layers, each (tokens, width) float32 as of `hidden`, whose result is the last of them.

        The first is what the first layer reads; then what each layer makes of it.
        """
        ...

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        """(tokens, width) the static input vectors of the words, before any layer."""
        ...


def suppression_problem(backbone: Backbone, vocabulary: int) -> str:
    """Asks the model itself: with factor 0 on a token, does swapping it leave all other tokens' vectors alone?"""
    ids, shorter = probe_ids(vocabulary)
    swapped = ids.copy()
    swapped[2] = ids[3]
    values = torch.ones(len(ids) + len(shorter), device=backbone.device)
    values[2] = 0.0
    factors = KeyFactors(values=values, log_additive=True)
    before, after = (backbone.hidden([first, shorter], factors) for first in (ids, swapped))
    others = torch.ones(len(before), dtype=torch.bool)
    others[2] = False
    if torch.allclose(before[others], after[others], atol=TOLERANCE):
        return ""
    return "a suppressed token still acts on the others"


def probe_ids(vocabulary: int) -> tuple[Int64Array, Int64Array]:
    """Two texts of 7 and 4 distinct tokens out of the middle of the vocabulary."""
    ids = np.arange(11, dtype=np.int64) * 7 % max(vocabulary // 2, 1) + vocabulary // 4
    return ids[:7], ids[7:]
