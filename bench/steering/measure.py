"""The measure: AUC per target of the control and factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.steering.groups import Group
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.protocols import Encoder
from core.records import Float32Array, Representation

FACTORS = (0.0, 0.1, 2.0, 4.0, 7.0, 20.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Steerability:
    """The effect of one factor in one group."""

    auc: float  # 0..1, mean over the queries and both of their aspects
    standard_error: float  # of `auc`, over the queries


def measure(
    encoder: Encoder, group: Group, target: ControlTarget, factors: Sequence[float] = FACTORS
) -> list[Steerability]:
    """One figure for each of `factors`, each applied to the words of either aspect of every query in turn."""
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
    return [_over_queries(group, documents, of_factor) for of_factor in vectors]


def auc(above: Float32Array, below: Float32Array) -> float:
    """Probability that a score of `above` (any length >= 1) is greater than one of `below`, a tie counting half.

    The Mann-Whitney U statistic over the number of pairs (Mann and Whitney, 1947).
    """
    ordered = np.sort(below)
    less = np.searchsorted(ordered, above, side="left")
    not_greater = np.searchsorted(ordered, above, side="right")
    return float((less + not_greater).sum() / 2 / (len(above) * len(below)))


def _over_queries(group: Group, documents: dict[str, Float32Array], vectors: Float32Array) -> Steerability:
    """`vectors`: (queries, 2, dimension), the query with its first and its second aspect controlled."""
    of_queries = []
    for query, steered in zip(group.queries, vectors, strict=True):
        matrices = [np.stack([documents[i] for i in aspect.documents]) for aspect in query.aspects]
        of_queries.append(np.mean([auc(matrices[i] @ steered[i], matrices[1 - i] @ steered[i]) for i in range(2)]))
    return Steerability(
        auc=float(np.mean(of_queries)),
        standard_error=float(np.std(of_queries, ddof=1) / math.sqrt(len(of_queries))),
    )
