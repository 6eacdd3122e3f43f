"""Measure, per control target and factor, how far a control steers and how much relevance is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.steering.groups import Group, SteeredQuery
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.protocols import Encoder
from core.records import Float32Array, Representation

FACTORS = (-1.0, 0.0, 0.1, 1.0, 2.0, 4.0, 7.0, 20.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Steerability:
    """The effect of one factor in one group: means over the queries and both of their aspects, 0..1."""

    auc: float  # documents of the controlled aspect above those of the other; 0.5 is no effect
    standard_error: float  # of `auc`, over the queries
    # Documents that the query still asks for above those of neither aspect. Asked for are the controlled aspect (at
    # factors of 1 and above) or the other one (below 1), and documents of both.
    relevance: float
    both: float | None  # documents of both aspects above those of one; None where there are none
    below_neither: float  # documents of the controlled aspect above those of neither


def measure(
    encoder: Encoder, group: Group, target: ControlTarget, factors: Sequence[float] = FACTORS
) -> list[Steerability]:
    """One Steerability for each of `factors`, applied to the words of each aspect of every query in turn."""
    ids = list(group.documents)
    plain = [Prompt.of(group.documents[i]) for i in ids]
    documents = dict(zip(ids, encoder.encode(plain, Representation.DOCUMENT).vectors, strict=True))
    prompts = [
        Prompt.of(query.text, controls=(TextControl(start=aspect.start, length=aspect.length, factor=factor),))
        for factor in factors
        for query in group.queries
        for aspect in query.aspects
    ]
    steered = encoder.encode(prompts, Representation.QUERY, options=ControlOptions(target=target)).vectors
    vectors = steered.reshape(len(factors), len(group.queries), 2, encoder.dimension)
    return [_over_queries(group, documents, *pair) for pair in zip(factors, vectors, strict=True)]


def auc(above: Float32Array, below: Float32Array) -> float:
    """Probability that a score of `above` (any length >= 1) is greater than one of `below`, a tie counting half.

    The Mann-Whitney U statistic over the number of pairs (Mann and Whitney, 1947).
    """
    ordered = np.sort(below)
    less = np.searchsorted(ordered, above, side="left")
    not_greater = np.searchsorted(ordered, above, side="right")
    return float((less + not_greater).sum() / 2 / (len(above) * len(below)))


def _over_queries(
    group: Group, documents: dict[str, Float32Array], factor: float, vectors: Float32Array
) -> Steerability:
    """`vectors`: (queries, 2, dimension), the query with its first and its second aspect controlled."""
    measured = [
        [_of_query(query, documents, factor, i, steered[i]) for i in range(2)]
        for query, steered in zip(group.queries, vectors, strict=True)
    ]
    steering = [np.mean([one.auc for one in pair]) for pair in measured]
    flat = [one for pair in measured for one in pair]
    both = [one.both for one in flat if one.both is not None]
    return Steerability(
        auc=float(np.mean(steering)),
        standard_error=float(np.std(steering, ddof=1) / math.sqrt(len(steering))),
        relevance=float(np.mean([one.relevance for one in flat])),
        both=float(np.mean(both)) if both else None,
        below_neither=float(np.mean([one.below_neither for one in flat])),
    )


def _of_query(
    query: SteeredQuery, documents: dict[str, Float32Array], factor: float, controlled: int, vector: Float32Array
) -> Steerability:
    def scores(ids: Sequence[str]) -> Float32Array:
        found: Float32Array = np.array([documents[id] @ vector for id in ids], dtype=np.float32)
        return found

    own, other = (scores(query.aspects[i].documents) for i in (controlled, 1 - controlled))
    both, neither = scores(query.both), scores(query.neither)
    asked = own if factor >= 1 else other
    return Steerability(
        auc=auc(own, other),
        standard_error=0.0,
        relevance=auc(np.concatenate([asked, both]), neither),
        both=auc(both, np.concatenate([own, other])) if len(both) else None,
        below_neither=auc(own, neither),
    )
