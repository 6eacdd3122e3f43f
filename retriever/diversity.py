"""Maximal marginal relevance: reorders hits so that each is relevant, but not similar to those above it.

    next = argmax of (1 - diversity) * relevance(d) - diversity * max over the chosen c of cosine(d, c)

Source: Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
Summaries", SIGIR 1998, with lambda = 1 - diversity. The relevance is the final score scaled to 0..1 over the hits that
take part, whatever the fusion; if the scores differ only by noise, the hits are equally relevant. The cosines are those
of the stored vectors. Scores are not changed, only the order.
"""

from __future__ import annotations

import numpy as np

from core.records import Float32Array, Float64Array, Int64Array
from retriever.fusion import usable_spread

WINDOW = 200  # only the best hits take part; those behind them keep their places


def diverse(scores: Float64Array, vectors: Float32Array, diversity: float) -> Int64Array:
    """(hits,) the new order of the hits, as places in the old one; ties go to the first place.

    `scores`: (hits,) in the order of the ranking; they need not descend, since hits found by deeper pools come last.
    `vectors`: (hits, dimension) of unit length; a vector of zeros is similar to no other.
    """
    count = len(scores)
    if not count:
        return np.empty(0, dtype=np.int64)
    low, high = float(scores.min()), float(scores.max())
    spread = usable_spread(low, high)
    relevance = (scores - low) / spread if spread else np.zeros(count)
    likeness, directions = np.zeros(count), vectors.astype(np.float64)
    free = np.ones(count, dtype=np.bool_)
    order = np.empty(count, dtype=np.int64)
    for place in range(count):
        worth = np.where(free, (1 - diversity) * relevance - diversity * likeness, -np.inf)
        chosen = int(worth.argmax())
        order[place], free[chosen] = chosen, False
        cosines = np.vecdot(directions, directions[chosen])  # sums row by row: equal vectors give equal cosines
        likeness = np.maximum(likeness, cosines) if place else cosines
    return order
