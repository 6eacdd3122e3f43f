"""The result of one retrieval leg, and the ranking with its tie-breaking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.records import Float64Array, Int64Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Passages found by one leg, best first; ties by ascending id."""

    ids: Int64Array  # (n,)
    scores: Float64Array  # (n,)


@dataclass(frozen=True, kw_only=True, slots=True)
class TermStatistics:
    """BM25's statistics of the terms, over the passages of the view."""

    passages: int  # N
    average_length: float  # mean number of terms per passage
    df: Mapping[str, int]  # by term: number of passages that contain it; 0 for an unknown term
    idf: Mapping[str, float]  # by term: bm25.idf; 0.0 for an unknown term


def best(ids: Int64Array, scores: Float64Array, k: int) -> Pool:
    """The k best candidates; which of several equals are cut depends only on their ids."""
    if 0 < k < len(scores):
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        ids, scores = ids[kept], scores[kept]
    order = ranking(ids, scores)[:k]
    return Pool(ids=ids[order], scores=scores[order])


def ranking(ids: Int64Array, scores: Float64Array) -> Int64Array:
    """(candidates,) positions by descending score, ties by ascending id."""
    falling = -scores
    order = falling.argsort()  # by one key: less than half the time of a sort by two
    ranked = falling[order]
    equal = ranked[1:] == ranked[:-1]
    if equal.any():
        tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
        among = order[tied]
        order[tied] = among[np.lexsort((ids[among], ranked[tied]))]
    return order
