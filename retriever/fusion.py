"""Two rankings to one: convex combination of normalised scores, and reciprocal rank fusion.

Pure functions over the candidates of one search. Every candidate has a raw score from both legs, so that the parts of
its final score can be shown: final = sum over the legs of weight * norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.errors import InvalidQuery
from core.records import Float64Array, Int64Array

MIN_SPREAD = 1e-6  # of the largest score: the float32 vectors behind it hold 7 digits, and noise is not to be blown up
CONVEX = "convex"
RECIPROCAL_RANK = "rrf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """How two legs become one score. Raises InvalidQuery that names what is allowed."""

    method: str = CONVEX
    alpha: float = 0.5  # convex: weight of the dense leg, 0..1; the sparse leg has 1 - alpha
    k: float = 60.0  # reciprocal rank: how slowly the ranks fade, >= 1
    weights: tuple[float, float] = (1.0, 1.0)  # reciprocal rank: of the dense and of the sparse leg, >= 0, not both 0

    def __post_init__(self) -> None:
        if self.method not in (CONVEX, RECIPROCAL_RANK):
            raise InvalidQuery(
                f"unknown fusion {self.method!r}; allowed are {CONVEX!r} and {RECIPROCAL_RANK!r}", param="fusion"
            )
        if not 0 <= self.alpha <= 1:
            raise InvalidQuery(f"fusion alpha {self.alpha}: must be between 0 and 1", param="fusion.alpha")
        if not (math.isfinite(self.k) and self.k >= 1):
            raise InvalidQuery(f"fusion k {self.k}: must be a finite number, 1 or more", param="fusion.k")
        if not all(math.isfinite(w) and w >= 0 for w in self.weights) or sum(self.weights) == 0:
            raise InvalidQuery(
                f"fusion weights {self.weights}: must be finite, 0 or more, and not both 0", param="fusion.weights"
            )

    @property
    def parameters(self) -> dict[str, float | list[float]]:
        """Those that the method goes by."""
        return {"alpha": self.alpha} if self.method == CONVEX else {"k": self.k, "weights": list(self.weights)}


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScores:
    """What one leg says of the candidates."""

    raw: Float64Array  # (candidates,) finite; of a sparse leg 0 where nothing matches
    rank: Int64Array  # (candidates,) from 1; 0: not in this leg's pool


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedLeg:
    """A leg's part in the final score: weight * norm.

    Of a convex fusion that part is also `scale * raw + constant` in the leg's pool, which lets it be split over terms
    and tokens. Ranks have no such line: `scale` and `constant` are None there.
    """

    norm: Float64Array  # (candidates,) convex: 0..1; reciprocal rank: 1 / (k + rank), or 0
    weight: float
    scale: float | None  # weight / (max - min); 0 where the pool has no spread
    constant: float | None  # -weight * min / (max - min); where the pool has no spread, the value of norm 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """The candidates' final scores, in the order in which they were given."""

    scores: Float64Array  # (candidates,)
    dense: FusedLeg
    sparse: FusedLeg


def fuse(fusion: Fusion, dense: LegScores, sparse: LegScores) -> Fused:
    """Final scores and parts of the candidates. Raises ValueError unless the four arrays have one length."""
    if len({dense.raw.shape, dense.rank.shape, sparse.raw.shape, sparse.rank.shape}) != 1 or dense.raw.ndim != 1:
        raise ValueError("raw scores and ranks of both legs must be arrays of shape (candidates,)")
    if fusion.method == CONVEX:
        dense_part = min_max(dense, fusion.alpha)
        sparse_part = min_max(sparse, 1 - fusion.alpha, low=0.0)
    else:
        dense_part = reciprocal_rank(dense.rank, fusion.k, fusion.weights[0])
        sparse_part = reciprocal_rank(sparse.rank, fusion.k, fusion.weights[1])
    scores = dense_part.weight * dense_part.norm + sparse_part.weight * sparse_part.norm
    return Fused(scores=scores, dense=dense_part, sparse=sparse_part)


def min_max(leg: LegScores, weight: float, *, low: float | None = None) -> FusedLeg:
    """(raw - min) / (max - min), where min is the lowest score in the leg's own pool: the convex normalisation.

    A candidate that only the other leg found counts as that minimum, norm 0, however far below it lies: a leg that does
    not understand a query (a language that its model never saw) must not sink what the other one finds. `low` stands in
    for the minimum where the lowest possible score is known: 0 for BM25. In a pool without spread (under MIN_SPREAD of
    its scores) each candidate that reaches it has norm 1, the others 0; of an empty pool all have 0.
    Source: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023, where the
    form with a known lower bound is the theoretical min-max.
    """
    pool = leg.raw[leg.rank > 0]
    if not pool.size:
        return FusedLeg(norm=np.zeros(leg.raw.shape), weight=weight, scale=0.0, constant=0.0)
    lowest, high = float(pool.min()), float(pool.max())
    low = lowest if low is None else low
    spread = high - low
    if spread <= MIN_SPREAD * max(abs(low), abs(high)) or not math.isfinite(weight / spread):
        return FusedLeg(norm=(leg.raw >= lowest).astype(np.float64), weight=weight, scale=0.0, constant=weight)
    scale = weight / spread
    return FusedLeg(norm=np.maximum(leg.raw - low, 0.0) / spread, weight=weight, scale=scale, constant=-scale * low)


def reciprocal_rank(rank: Int64Array, k: float, weight: float) -> FusedLeg:
    """1 / (k + rank), and 0 for a candidate outside the leg's pool.

    Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009.
    """
    norm = np.where(rank > 0, 1.0 / (k + rank), 0.0)
    return FusedLeg(norm=norm, weight=weight, scale=None, constant=None)


def ranking(ids: Int64Array, scores: Float64Array) -> Int64Array:
    """(candidates,) positions by falling score, equal scores by rising id."""
    return np.lexsort((ids, -scores)).astype(np.int64)


def collapse(ids: Int64Array, scores: Float64Array, document_ids: Int64Array) -> Int64Array:
    """(documents,) positions of the best passage of each document, in the order of `ranking`."""
    order = ranking(ids, scores)
    _, first = np.unique(document_ids[order], return_index=True)
    return order[np.sort(first)]
