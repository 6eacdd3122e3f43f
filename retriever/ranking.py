"""Candidates in their order, and which of them a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.errors import HitNotFound
from core.records import Float32Array, Int64Array
from retriever.candidates import POOL_DEPTH, Candidates, gather, rank
from retriever.cursor import Cursor
from retriever.fusion import Fused, collapse
from retriever.legs import Leg, SparseTerms
from retriever.query import MAX_DEPTH, Query
from retriever.stopwatch import Stopwatch
from store.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some of the ranked candidates."""

    candidates: Candidates
    ranked: Fused
    shown: Int64Array  # positions of candidates, best first
    start: int  # place of the first one in the ranking, from 0
    more: bool  # whether there may be a page behind this one
    depth: int  # passages that each leg was asked for
    documents: int  # in the ranking
    late: bool  # whether the time was over before there were enough of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """What the legs look for, and among what."""

    vector: Float32Array | None  # (dimension,); None: the dense leg takes no part
    sparse: Mapping[Leg, SparseTerms]
    allowed: Int64Array | None  # sorted ids to choose from; None: all
    excluded: Int64Array | None  # sorted ids that are no hits


def ranked_page(view: View, query: Query, sought: Sought, cursor: Cursor | None, watch: Stopwatch) -> Page:
    """The page that the query asks for.

    The pools are deepened until they hold enough documents or everything there is, so that passages of few documents at
    the top never leave a page short. What only deeper pools find ranks behind all that was ranked before, whatever its
    score: the first hits are the same however many are asked for, and pages make up one long list.
    """
    depth, settled = POOL_DEPTH, np.empty(0, dtype=np.int64)
    while True:
        candidates, ranked = _ranked(view, query, sought, depth, watch)
        with watch.stage("rank"):
            best = collapse(candidates.ids, ranked.scores, candidates.documents)
            best = _behind(candidates, settled, best)
            start = query.offset
            if cursor is not None:
                start = cursor.start(view.seq, candidates.ids[best], ranked.scores[best])
        end = min(start + query.k, MAX_DEPTH)
        if len(best) >= end or candidates.complete or watch.late:
            return Page(
                candidates=candidates,
                ranked=ranked,
                shown=best[start:end],
                start=start,
                more=end < MAX_DEPTH and (len(best) > end or (len(best) == end and not candidates.complete)),
                depth=depth,
                documents=len(best),
                late=len(best) < end and not candidates.complete,
            )
        settled = candidates.ids[best]
        depth *= 4


def single_page(view: View, query: Query, sought: Sought, hit_id: int, watch: Stopwatch) -> Page:
    """The page of one candidate: any page may have shown it. Raises HitNotFound where it is none."""
    depth = POOL_DEPTH
    while True:
        candidates, ranked = _ranked(view, query, sought, depth, watch)
        documents = len(np.unique(candidates.documents))
        if documents >= MAX_DEPTH or candidates.complete or hit_id in candidates.ids:
            return Page(
                candidates=candidates,
                ranked=ranked,
                shown=_position(candidates, hit_id),
                start=0,
                more=False,
                depth=depth,
                documents=documents,
                late=False,
            )
        depth *= 4


def _ranked(view: View, query: Query, sought: Sought, depth: int, watch: Stopwatch) -> tuple[Candidates, Fused]:
    candidates = gather(
        view,
        vector=sought.vector,
        sparse=sought.sparse,
        depth=depth,
        allowed=sought.allowed,
        excluded=sought.excluded,
        watch=watch,
    )
    with watch.stage("rank"):
        return candidates, rank(candidates, query.fusion)


def _behind(candidates: Candidates, settled: Int64Array, best: Int64Array) -> Int64Array:
    """The settled passages first, in their order, then the best ones of other documents."""
    if not len(settled):
        return best
    _, places, found = np.intersect1d(candidates.ids, settled, assume_unique=True, return_indices=True)
    first = places[np.argsort(found)]
    rest = best[~np.isin(candidates.documents[best], candidates.documents[first])]
    return np.concatenate([first, rest])


def _position(candidates: Candidates, hit_id: int) -> Int64Array:
    found = np.flatnonzero(candidates.ids == hit_id)
    if not len(found):
        raise HitNotFound(
            f"passage {hit_id} is not among the {len(candidates.ids)} candidates of this query: its document was "
            "replaced or deleted, the filter leaves it out, or no leg found it",
            param="id",
        )
    return found
