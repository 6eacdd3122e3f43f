"""Maximal marginal relevance: hits that are good, and unlike those above them.

    next = argmax of (1 - diversity) * relevance(d) - diversity * max over the chosen c of cosine(d, c)

Source: Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
Summaries", SIGIR 1998, with lambda = 1 - diversity. The relevance is the final score brought to 0..1 over the hits that
take part, whatever the fusion; where these differ by noise alone, they are equally relevant. The cosines are those of
the stored vectors. Scores stay as they were: only the order changes.
"""

from __future__ import annotations

import numpy as np

from core.records import Float32Array, Float64Array, Int64Array
from retriever.fusion import usable_spread

WINDOW = 200  # best hits that take part; those behind them keep their places


def diverse(scores: Float64Array, vectors: Float32Array, diversity: float) -> Int64Array:
    """(hits,) the order of hits with `scores`: places, of equals the first.

    `scores`: in the order of the ranking, which need not fall: what deeper pools found stands behind.
    `vectors`: (hits, dimension) of unit length; a vector of zeros is like no other.
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
        cosines = np.vecdot(directions, directions[chosen])  # row by row: equal vectors are equally like
        likeness = np.maximum(likeness, cosines) if place else cosines
    return order
