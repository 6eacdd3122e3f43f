"""Rank fusion: combines several rankings by convex combination of normalised scores, or by reciprocal rank fusion.

Pure functions over the candidates of one search. Every candidate has a raw score from every leg, so that the parts of
its final score can be shown: final = sum over the legs of weight * norm. The weights of a convex combination are given
in the request, or, by default, chosen for the query (retriever.adaptive).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.errors import InvalidQuery
from core.records import Float64Array, Int64Array
from retriever.adaptive import Choice, choose, one_passage_each
from retriever.legs import Leg, Wording
from store.pool import ranking

MIN_SPREAD = 1e-6  # of the largest score: float32 vectors have 7 digits, and smaller spreads would amplify noise
MAX_K = 1e6  # of reciprocal rank: with far larger values all ranks look alike
MAX_PARAMETER = 1e15  # of reciprocal rank's weights: products of far larger values overflow
AUTO = "auto"
CONVEX = "convex"
RECIPROCAL_RANK = "rrf"
METHODS = (AUTO, CONVEX, RECIPROCAL_RANK)
EVEN = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """How the scores of the legs are combined. Raises InvalidQuery, which names what is allowed."""

    method: str = AUTO
    alpha: float | None = None  # weight of the dense leg, 0..1; the sparse side has the rest. None: the collection's
    k: float = 60.0  # reciprocal rank: how slowly the weight of ranks declines, 1..MAX_K
    weights: tuple[float, float] = (1.0, 1.0)  # reciprocal rank: of the dense and the sparse side; not both 0
    learned: float = 0.5  # the learned leg's part of the sparse side's weight if BM25 is used too, 0..1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidQuery(
                f"unknown fusion {self.method!r}; allowed are {', '.join(map(repr, METHODS))}", param="fusion"
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise InvalidQuery(f"fusion alpha {self.alpha}: must be between 0 and 1", param="fusion.alpha")
        if not 1 <= self.k <= MAX_K:
            raise InvalidQuery(f"fusion k {self.k}: must be between 1 and {MAX_K:g}", param="fusion.k")
        if not all(0 <= weight <= MAX_PARAMETER for weight in self.weights) or sum(self.weights) == 0:
            raise InvalidQuery(
                f"fusion weights {self.weights}: must be between 0 and {MAX_PARAMETER:g}, and not both 0",
                param="fusion.weights",
            )
        if not 0 <= self.learned <= 1:
            raise InvalidQuery(f"fusion learned {self.learned}: must be between 0 and 1", param="fusion.learned")

    def settled(self, alpha: float) -> Fusion:
        """With `alpha` if the request names none."""
        return self if self.alpha is not None else replace(self, alpha=alpha)

    @property
    def dense_weight(self) -> float:
        return EVEN if self.alpha is None else self.alpha

    def parameters(self, legs: Collection[Leg]) -> dict[str, float | list[float]]:
        """The parameters that the method uses for these legs."""
        found: dict[str, float | list[float]] = (
            {"k": self.k, "weights": list(self.weights)}
            if self.method == RECIPROCAL_RANK
            else {"alpha": self.dense_weight}
        )
        return found | {"learned": self.learned} if {Leg.SPARSE, Leg.LEARNED} <= set(legs) else found

    def leg_weights(self, legs: Collection[Leg]) -> dict[Leg, float]:
        """The weight of each of `legs`; for the auto fusion, the weights that it starts from.

        The weights of a convex combination sum to 1, even without the dense leg.
        """
        dense, sparse = self.weights
        if self.method != RECIPROCAL_RANK:
            dense, sparse = (self.dense_weight, 1 - self.dense_weight) if Leg.DENSE in legs else (0.0, 1.0)
        learned = self.learned if Leg.SPARSE in legs and Leg.LEARNED in legs else float(Leg.LEARNED in legs)
        weights = {Leg.DENSE: dense, Leg.SPARSE: sparse * (1 - learned), Leg.LEARNED: sparse * learned}
        return {leg: weights[leg] for leg in legs}


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScores:
    """One leg's scores and ranks of the candidates."""

    raw: Float64Array  # (candidates,) finite; in a sparse leg 0 where nothing matches
    rank: Int64Array  # (candidates,) from 1; 0: not in this leg's pool
    wording: Wording | None = None  # of the query, if the leg matches words


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedLeg:
    """A leg's part in the final score: weight * norm.

    In a convex fusion, this equals `scale * raw + constant` within the leg's pool, so that it can be split over terms
    and tokens. Rank fusion has no such linear form: there `scale` and `constant` are None.
    """

    norm: Float64Array  # (candidates,) convex: 0..1; reciprocal rank: 1 / (k + rank), or 0
    weight: float
    scale: float | None  # weight / (max - min); 0 if the pool has no spread
    constant: float | None  # -weight * min / (max - min); if the pool has no spread, the value of norm 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """The candidates' final scores, in the order of the input."""

    scores: Float64Array  # (candidates,)
    legs: Mapping[Leg, FusedLeg]
    choice: Choice | None = None  # of the auto fusion: the weights, and why


def fuse(
    fusion: Fusion,
    legs: Mapping[Leg, LegScores],
    documents: Int64Array | None = None,
    choice: Choice | None = None,
) -> Fused:
    """Compute the candidates' final scores and their parts. Raises ValueError unless all arrays have the same length.

    `documents`: (candidates,) equal for passages of one document, used by the auto fusion; None: all are different.
    `choice`: the weights that the auto fusion chose for this query before, from fewer candidates.
    """
    shapes = {array.shape for leg in legs.values() for array in (leg.raw, leg.rank)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError("raw scores and ranks of all legs must be arrays of shape (candidates,)")
    weights = fusion.leg_weights(legs)
    convex: dict[Leg, FusedLeg] = {}
    if fusion.method != AUTO:
        choice = None
    elif choice is None:
        count = len(next(iter(legs.values())).raw)
        convex = {leg: _convex(leg, scores, 1.0) for leg, scores in legs.items()}
        norms = {leg: part.norm for leg, part in convex.items()}
        wordings = {leg: scores.wording for leg, scores in legs.items()}
        choice = choose(norms, np.arange(count) if documents is None else documents, weights, wordings)
    weights = weights if choice is None else choice.weights
    if fusion.method == RECIPROCAL_RANK:
        parts = {leg: reciprocal_rank(scores.rank, fusion.k, weights[leg]) for leg, scores in legs.items()}
    else:
        parts = {leg: _convex(leg, scores, weights[leg], convex.get(leg)) for leg, scores in legs.items()}
    total = np.zeros(next(iter(shapes)))
    for part in parts.values():
        total += part.weight * part.norm
    return Fused(scores=total, legs=parts, choice=choice)


def _convex(leg: Leg, scores: LegScores, weight: float, known: FusedLeg | None = None) -> FusedLeg:
    return min_max(scores, weight, low=None if leg is Leg.DENSE else 0.0, known=known)


def usable_spread(low: float, high: float) -> float:
    """high - low as a divisor; 0 if it is noise (up to MIN_SPREAD of the scores) or too small to divide by."""
    spread = high - low
    usable = spread > MIN_SPREAD * max(abs(low), abs(high)) and math.isfinite(MAX_PARAMETER / spread)
    return spread if usable else 0.0


def min_max(leg: LegScores, weight: float, *, low: float | None = None, known: FusedLeg | None = None) -> FusedLeg:
    """Min-max normalisation: (raw - min) / (max - min), where min is the lowest score in the leg's own pool.

    A candidate that only other legs found gets norm 0, like the minimum, however low its score is: a leg that does not
    understand a query (in a language that its model never saw) must not push down the other leg's results. `low`
    replaces the minimum if the lowest possible score is known: 0 for the sparse legs. In a pool without
    `usable_spread`, candidates that reach the pool's lowest score have norm 1, the others 0; if the pool is empty, all
    have 0.
    Source: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023, where the
    form with a known lower bound is called the theoretical min-max.

    `known`: the result for a weight of 1, if it was computed before.
    """
    pool = leg.raw[leg.rank > 0]
    if not pool.size:
        return FusedLeg(norm=np.zeros(leg.raw.shape), weight=weight, scale=0.0, constant=0.0)
    lowest, high = float(pool.min()), float(pool.max())
    low = lowest if low is None else low
    spread = usable_spread(low, high)
    if not spread:
        return FusedLeg(norm=(leg.raw >= lowest).astype(np.float64), weight=weight, scale=0.0, constant=weight)
    scale = weight / spread
    norm = known.norm if known is not None and known.scale else np.maximum(leg.raw - low, 0.0) / spread
    return FusedLeg(norm=norm, weight=weight, scale=scale, constant=-scale * low)


def reciprocal_rank(rank: Int64Array, k: float, weight: float) -> FusedLeg:
    """Reciprocal rank fusion: 1 / (k + rank), and 0 for a candidate outside the leg's pool.

    Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009.
    """
    norm = np.where(rank > 0, 1.0 / (k + rank), 0.0)
    return FusedLeg(norm=norm, weight=weight, scale=None, constant=None)


def collapse(ids: Int64Array, scores: Float64Array, document_ids: Int64Array) -> Int64Array:
    """(documents,) positions of each document's best passage, in the order of `ranking`."""
    order = ranking(ids, scores)
    if one_passage_each(document_ids):
        return order
    _, first = np.unique(document_ids[order], return_index=True)
    return order[np.sort(first)]
