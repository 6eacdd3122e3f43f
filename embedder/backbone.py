"""The interface of the transformer inside an encoder: token ids to token vectors, with factors on the attention.

Batches are packed: one matrix holds the tokens of all texts, one text after the other, without padding. So texts cannot
influence one another's vectors, and no arithmetic is spent on padding.
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
    """One factor per token of a packed batch, applied to the token as a key of the attention."""

    values: Tensor  # (tokens,) >= 0, float32, 1 for tokens that are not steered
    log_additive: bool  # True: add log f to the scores; False: scale (score - minimum) by f


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
        """The precision it computes in; never AUTO."""
        ...

    @property
    def keeps_slots(self) -> bool:
        """Whether batching texts with equal `embedder.batching.attention_slots` leaves their vectors bit-identical."""
        ...

    @property
    def attention_problem(self) -> str:
        """Why factors cannot act on this model's attention; empty if they can."""
        ...

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        """(tokens, width) float32: the last layer's vectors of all texts' tokens, packed in the order of `ids`."""
        ...

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        """The hidden states of all layers, each (tokens, width) float32 and packed as in `hidden`.

        The first is the input of the first layer; then follows each layer's output. The last equals `hidden`.
        """
        ...

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        """(tokens, width) float32: the static input embeddings of the tokens, before any layer."""
        ...


def suppression_problem(backbone: Backbone, vocabulary: int) -> str:
    """Tests whether a token with factor 0 has no effect on the other tokens; empty if so, else the problem.

    The model runs twice, with two different tokens in the suppressed place: the other tokens' vectors must not differ
    by more than TOLERANCE.
    """
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
    """Two probe texts of 7 and 4 distinct token ids from the middle of the vocabulary."""
    ids = np.arange(11, dtype=np.int64) * 7 % max(vocabulary // 2, 1) + vocabulary // 4
    return ids[:7], ids[7:]
