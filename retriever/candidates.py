"""Candidate retrieval: the best passages of each leg, each scored by every leg of the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np

from core.records import Float32Array, Float64Array, Int64Array, Scoring
from retriever.adaptive import Choice
from retriever.fusion import Fused, FusedLeg, Fusion, LegScores, collapse, fuse
from retriever.legs import Leg, SparseTerms
from retriever.stopwatch import Stopwatch
from store.ids import distinct
from store.pool import Pool
from store.view import View

POOL_DEPTH = 1000  # passages of each leg whose ranks and score range the fusion uses


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """The union of the legs' pools, by ascending passage id."""

    ids: Int64Array  # (n,)
    documents: Int64Array  # (n,) equal for passages of one document
    legs: Mapping[Leg, LegScores]  # those that take part
    complete: bool  # whether deeper pools would find no further passage
    pools: Mapping[Leg, int] = field(default_factory=dict)  # number of passages that each leg found
    late: tuple[Leg, ...] = ()  # legs that were not searched for lack of time


def gather(
    view: View,
    *,
    vector: Float32Array | None,
    sparse: Mapping[Leg, SparseTerms],
    depth: int,
    allowed: Int64Array | None,
    excluded: Int64Array | None = None,
    watch: Stopwatch | None = None,
) -> Candidates:
    """Find the `depth` best passages of each leg: the dense leg if there is a `vector`, and the legs in `sparse`.

    `allowed`: passages to choose from; None: all. `excluded`: sorted ids of passages to leave out. `watch`: times the
    legs; once it is late, no further leg is begun.

    Raw scores are computed in float64 for every candidate, by the same formula for all pools. They do not depend on how
    the pools were found, and explanations use the same numbers as the ranking.
    """
    watch = watch or Stopwatch()
    more = depth + (0 if excluded is None else len(excluded))
    searches: dict[Leg, Callable[[], Pool]] = {}
    if vector is not None:
        searches[Leg.DENSE] = partial(view.nearest, vector, more, allowed)
    for leg, terms in sparse.items():
        searches[leg] = partial(terms.best, view, more, allowed)
    pools: dict[Leg, Pool] = {}
    for leg, search in searches.items():
        if pools and watch.late:
            continue
        with watch.stage(leg.value):
            pools[leg] = _without(search(), excluded, depth)
    with watch.stage("score"):
        found = [pool.ids for pool in pools.values()]
        ids = distinct(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        legs: dict[Leg, LegScores] = {}
        places = {leg: ids.searchsorted(pool.ids) for leg, pool in pools.items()}
        if vector is not None and Leg.DENSE in pools:
            raw = _dense_scores(view, vector, pools[Leg.DENSE], ids, places[Leg.DENSE])
            legs[Leg.DENSE] = LegScores(raw=raw, rank=_ranks(places[Leg.DENSE], len(ids)))
        for leg, terms in sparse.items():
            if leg not in pools:
                continue
            raw, ranks = terms.scores(view, ids), _ranks(places[leg], len(ids))
            legs[leg] = LegScores(raw=raw, rank=ranks, wording=terms.wording(view))
        return Candidates(
            ids=ids,
            documents=view.documents_of(ids),
            legs=legs,
            complete=all(len(pool) < depth for pool in found),
            pools={leg: len(pool.ids) for leg, pool in pools.items()},
            late=tuple(leg for leg in searches if leg not in pools),
        )


def rank(candidates: Candidates, fusion: Fusion, choice: Choice | None = None) -> Fused:
    """Fuse the legs. A single leg is ranked by its raw score. Raises ValueError if there is no leg.

    `choice`: the weights that the auto fusion chose for this query before, from fewer candidates.
    """
    if len(candidates.legs) > 1:
        return fuse(fusion, candidates.legs, candidates.documents, choice)
    if not candidates.legs:
        raise ValueError("no leg takes part")
    ((leg, alone),) = candidates.legs.items()
    return Fused(scores=alone.raw, legs={leg: FusedLeg(norm=alone.raw, weight=1.0, scale=1.0, constant=0.0)})


def best_documents(
    view: View,
    vector: Float32Array | None,
    sparse: Mapping[Leg, SparseTerms],
    fusion: Fusion,
    scorings: Sequence[Scoring],
    k: int,
) -> list[Int64Array]:
    """For each of the scorings, the store's numbers of the first `k` documents, best first."""
    found: list[Int64Array] = []
    for (k1, b), group in groupby(scorings, key=lambda scoring: (scoring.k1, scoring.b)):
        candidates = gather(view.rescored(k1=k1, b=b), vector=vector, sparse=sparse, depth=POOL_DEPTH, allowed=None)
        for scoring in group:
            ranked = rank(candidates, fusion.settled(scoring.alpha))
            best = collapse(candidates.ids, ranked.scores, candidates.documents)[:k]
            found.append(candidates.documents[best])
    return found


def _dense_scores(view: View, vector: Float32Array, pool: Pool, ids: Int64Array, places: Int64Array) -> Float64Array:
    """(ids,) dense scores: at `places` the pool's own, which are exact; only the others are computed."""
    others = np.ones(len(ids), dtype=np.bool_)
    others[places] = False
    raw = view.dense_scores(vector, ids, others)
    raw[places] = pool.scores
    return raw


def _without(pool: Pool, excluded: Int64Array | None, depth: int) -> Pool:
    """The first `depth` passages of the pool that are not excluded."""
    if excluded is None:
        return pool
    kept = np.flatnonzero(~np.isin(pool.ids, excluded))[:depth]
    return Pool(ids=pool.ids[kept], scores=pool.scores[kept])


def _ranks(places: Int64Array, count: int) -> Int64Array:
    """(count,) 1-based ranks; 0 for candidates that are not among the first POOL_DEPTH of the pool.

    `places`: positions of the pool's passages, best first. The fusion uses only these ranks, so that deepening a pool
    for a long page does not change any score.
    """
    ranks = np.zeros(count, dtype=np.int64)
    first = places[:POOL_DEPTH]
    ranks[first] = np.arange(1, len(first) + 1)
    return ranks
