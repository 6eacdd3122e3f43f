"""Candidates in their order, and which of them a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.errors import HitNotFound
from core.records import Float32Array, Int64Array
from retriever.candidates import POOL_DEPTH, Candidates, gather, rank
from retriever.cursor import Cursor
from retriever.diversity import WINDOW, diverse
from retriever.fusion import Fused, collapse
from retriever.grouping import Group, Grouper
from retriever.legs import Leg, SparseTerms
from retriever.query import MAX_DEPTH, Query
from retriever.selection import reaching
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
    groups: tuple[Group, ...] | None = None  # places are those in `shown`; None: hits are not grouped


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
    depth, settled, ranked = POOL_DEPTH, np.empty(0, dtype=np.int64), None
    while True:
        candidates, ranked = _ranked(view, query, sought, depth, watch, ranked)
        with watch.stage("rank"):
            best = collapse(candidates.ids, ranked.scores, candidates.documents)
            best = _behind(candidates, settled, best)
            order = _diversified(view, query, candidates, ranked, best)
            start = query.offset
            if cursor is not None:
                start = cursor.start(view.seq, candidates.ids[order], ranked.scores[order])
        end = min(start + query.k, MAX_DEPTH)
        wanted = max(end, WINDOW) if query.selection.diversity else end
        if len(best) >= wanted or candidates.complete or watch.late:
            return Page(
                candidates=candidates,
                ranked=ranked,
                shown=order[start:end],
                start=start,
                more=end < MAX_DEPTH and (len(best) > end or (len(best) == end and not candidates.complete)),
                depth=depth,
                documents=len(best),
                late=len(best) < wanted and not candidates.complete,
            )
        settled = candidates.ids[best]
        depth *= 4


def grouped_page(view: View, query: Query, sought: Sought, grouper: Grouper, watch: Stopwatch) -> Page:
    """The groups that the query asks for, each with its best hits; a hit of several groups is shown once.

    As `ranked_page` deepens for a page, so here until every group is known to be full.
    """
    depth, settled, ranked = POOL_DEPTH, np.empty(0, dtype=np.int64), None
    while True:
        candidates, ranked = _ranked(view, query, sought, depth, watch, ranked)
        with watch.stage("group"):
            best = _behind(candidates, settled, collapse(candidates.ids, ranked.scores, candidates.documents))
            groups = grouper.groups(candidates.documents[best], query.offset + query.k)[query.offset :]
            enough = len(groups) == query.k and all(grouper.full(group) for group in groups)
        if enough or candidates.complete or watch.late:
            places = list(dict.fromkeys(place for group in groups for place in group.places))
            return Page(
                candidates=candidates,
                ranked=ranked,
                shown=best[places],
                start=query.offset,
                more=False,
                depth=depth,
                documents=len(best),
                late=not (enough or candidates.complete),
                groups=tuple(
                    replace(group, places=tuple(places.index(place) for place in group.places)) for group in groups
                ),
            )
        settled = candidates.ids[best]
        depth *= 4


def single_page(view: View, query: Query, sought: Sought, hit_id: int, watch: Stopwatch) -> Page:
    """The page of one candidate: any page may have shown it. Raises HitNotFound where it is none."""
    depth, ranked = POOL_DEPTH, None
    while True:
        candidates, ranked = _ranked(view, query, sought, depth, watch, ranked)
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


def _ranked(
    view: View, query: Query, sought: Sought, depth: int, watch: Stopwatch, before: Fused | None
) -> tuple[Candidates, Fused]:
    """`before`: what less deep pools came to; what was decided by them holds, so that no score changes."""
    candidates = gather(
        view,
        vector=sought.vector,
        sparse=sought.sparse,
        depth=depth,
        allowed=sought.allowed,
        excluded=sought.excluded,
        watch=watch if before is None else watch.without_hurry(),  # all legs are deepened, or none
    )
    if not candidates.legs:  # there was no time for any
        return candidates, Fused(scores=np.zeros(0), legs={})
    with watch.stage("rank"):
        ranked = rank(candidates, query.fusion, None if before is None else before.choice)
        return reaching(candidates, ranked, query.selection.min_scores)


def _diversified(view: View, query: Query, candidates: Candidates, ranked: Fused, best: Int64Array) -> Int64Array:
    """The ranking in the order in which it is shown."""
    diversity = query.selection.diversity
    if not diversity:
        return best
    first = best[:WINDOW]
    order = diverse(ranked.scores[first], view.vectors(candidates.ids[first]), diversity)
    return np.concatenate([first[order], best[WINDOW:]])


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
