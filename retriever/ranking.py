"""Ranks the candidates of a search, and selects the page to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import DocumentNotFound, HitNotFound
from core.records import Float32Array, Int64Array
from retriever.candidates import POOL_DEPTH, Candidates, gather, rank
from retriever.cursor import Cursor
from retriever.diversity import WINDOW, diverse
from retriever.fusion import Fused, collapse
from retriever.grouping import Group, Grouper
from retriever.inputs import no_document
from retriever.legs import Leg, SparseTerms
from retriever.query import MAX_DEPTH, Query
from retriever.rerank import Judged, RerankPart, reranked
from retriever.selection import reaching
from retriever.stopwatch import Stopwatch
from store.pool import ranking
from store.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The candidates that one page shows."""

    candidates: Candidates
    ranked: Fused
    shown: Int64Array  # positions of candidates, best first
    start: int | None  # place of the first one in the ranking, from 0; None: another passage of its document hides it
    more: bool  # whether there may be a page behind this one
    depth: int  # passages that each leg was asked for
    documents: int  # in the ranking
    late: bool  # whether the time ran out before enough documents were found
    groups: tuple[Group, ...] | None = None  # their places are positions in `shown`; None: hits are not grouped
    judged: Mapping[int, RerankPart] = field(default_factory=dict)  # by candidate position, for the reranked window
    missed: bool = False  # whether some of the window was not judged, so that it was not reranked


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the legs search for, and among which passages."""

    vector: Float32Array | None  # (dimension,); None: the dense leg takes no part
    sparse: Mapping[Leg, SparseTerms]
    allowed: Int64Array | None  # sorted ids of passages to choose from; None: all
    excluded: Int64Array | None  # sorted ids of passages that may not be hits
    judged: Judged | None = None  # the reranker's judgements; None: it takes no part


def ranked_page(view: View, query: Query, plan: Plan, cursor: Cursor | None, watch: Stopwatch) -> Page:
    """The page that the query requests.

    The pools are deepened until they contain enough documents or everything there is, so that a page is not short when
    the top passages belong to few documents. Hits that only deeper pools find rank below all that were ranked before,
    whatever their scores. Thus the first hits do not depend on the number of hits requested, and successive pages are
    parts of one list.
    """
    diversity = query.selection.diversity
    for depth, found in enumerate(_rankings(view, query, plan, watch)):
        with watch.stage("rank"):
            order = _diversified(view, diversity, found)
            start = query.offset
            if cursor is not None:
                ids, scores = found.candidates.ids[order], found.ranked.scores[order]
                falling = not diversity and depth == 0  # hits from deeper pools may have higher scores
                start = cursor.start(view.seq, ids, scores, window=len(found.judged), by_score=falling)
        end = min(start + query.k, MAX_DEPTH)
        seen = 0 if cursor is None else cursor.place  # shallower pools may lack the last hit that was shown
        wanted = max(end, seen, WINDOW if diversity else 0, _window_size(query))
        enough, complete = len(order) >= wanted, found.candidates.complete
        if enough or complete or watch.late:
            return found.page(
                order[start:end],
                start=start,
                more=end < MAX_DEPTH and (len(order) > end or (len(order) == end and not complete)),
                late=not (enough or complete),
            )
    raise AssertionError("rankings end where they are complete")


def grouped_page(view: View, query: Query, plan: Plan, grouper: Grouper, watch: Stopwatch) -> Page:
    """The groups that the query requests, each with its best hits; a hit in several groups is shown once.

    The pools are deepened as in `ranked_page`, until every group is known to be full.
    """
    for found in _rankings(view, query, plan, watch):
        best, complete = found.best, found.candidates.complete
        with watch.stage("group"):
            groups = grouper.groups(found.candidates.documents[best], query.offset + query.k)[query.offset :]
            enough = len(groups) == query.k and all(grouper.full(group) for group in groups)
            enough = enough and len(best) >= _window_size(query)
        if enough or complete or watch.late:
            places = list(dict.fromkeys(place for group in groups for place in group.places))
            among = {place: i for i, place in enumerate(places)}
            own = (replace(group, places=tuple(among[place] for place in group.places)) for group in groups)
            late = not (enough or complete)
            return found.page(best[places], start=query.offset, more=False, late=late, groups=tuple(own))
    raise AssertionError("rankings end where they are complete")


def single_page(view: View, query: Query, plan: Plan, hit: int | str, watch: Stopwatch) -> Page:
    """The page of one candidate: any page may have shown it. `hit`: its id, or that of a document for its best passage.

    Raises DocumentNotFound where there is no such document, HitNotFound where it is no candidate.
    """
    document = _document(view, hit) if isinstance(hit, str) else None
    for found in _rankings(view, query, plan, watch):
        candidates, documents = found.candidates, len(found.best)
        if document is None:
            place = np.flatnonzero(candidates.ids == hit)
        else:
            place = found.best[candidates.documents[found.best] == document]
        deep = documents >= MAX_DEPTH or (len(place) and documents >= _window_size(query))
        if deep or candidates.complete:
            if not len(place):
                raise _no_candidate(hit, len(candidates.ids))
            rank = np.flatnonzero(found.best == place[0])
            return found.page(place, start=int(rank[0]) if len(rank) else None, more=False, late=False)
    raise AssertionError("rankings end where they are complete")


def window_ids(view: View, query: Query, plan: Plan, watch: Stopwatch) -> Int64Array:
    """The ids of the passages that a reranker is to judge: the best passage of each of the first documents."""
    size = _window_size(query)
    for found in _rankings(view, query, plan, watch):
        if len(found.best) >= size or found.candidates.complete or watch.late:
            return found.candidates.ids[found.best[:size]]
    raise AssertionError("rankings end where they are complete")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ranking:
    """All candidates of pools of one depth."""

    candidates: Candidates
    ranked: Fused
    best: Int64Array  # (documents,) positions of each document's best passage, best first
    depth: int
    judged: Mapping[int, RerankPart] = field(default_factory=dict)  # by candidate position, for the reranked window
    missed: bool = False

    def page(
        self, shown: Int64Array, *, start: int | None, more: bool, late: bool, groups: tuple[Group, ...] | None = None
    ) -> Page:
        return Page(
            candidates=self.candidates,
            ranked=self.ranked,
            shown=shown,
            start=start,
            more=more,
            depth=self.depth,
            documents=len(self.best),
            late=late,
            groups=groups,
            judged=self.judged,
            missed=self.missed,
        )


def _rankings(view: View, query: Query, plan: Plan, watch: Stopwatch) -> Iterator[_Ranking]:
    """Rankings of increasingly deep pools; documents ranked by shallower pools stay in front, in the same order."""
    depth, settled, ranked = POOL_DEPTH, np.empty(0, dtype=np.int64), None
    while True:
        candidates, ranked = _ranked(view, query, plan, depth, watch, ranked)
        with watch.stage("rank"):
            best = _behind(candidates, settled, collapse(candidates.ids, ranked.scores, candidates.documents))
            found = _Ranking(candidates=candidates, ranked=ranked, best=best, depth=depth)
            judged = _judged(found, query, plan.judged)
        yield judged
        settled = candidates.ids[best]
        depth *= 4


def _judged(found: _Ranking, query: Query, judged: Judged | None) -> _Ranking:
    """The ranking with the window reordered by its new scores; unchanged if some of the window was not judged."""
    if query.rerank is None or judged is None:
        return found
    window = found.best[: query.rerank.depth]
    ids = found.candidates.ids[window]
    relevance = [judged.relevance.get(id_) for id_ in ids.tolist()]
    known = np.array([value for value in relevance if value is not None])
    if not len(known) or len(known) < len(window):
        return replace(found, missed=len(known) < len(window))
    anew = reranked(found.ranked.scores[window], known, query.rerank.weight)
    scores = found.ranked.scores.copy()
    scores[window] = anew.scores
    parts = {
        position: RerankPart(
            model=query.rerank.model,
            relevance=float(known[place]),
            rank=anew.rank[place],
            weight=query.rerank.weight,
            scale=anew.scale,
            constant=anew.constant,
        )
        for place, position in enumerate(window.tolist())
    }
    order = window[ranking(ids, anew.scores)]
    best = np.concatenate([order, found.best[len(window) :]])
    return replace(found, ranked=replace(found.ranked, scores=scores), best=best, judged=parts)


def _window_size(query: Query) -> int:
    return 0 if query.rerank is None else query.rerank.depth


def _ranked(
    view: View, query: Query, plan: Plan, depth: int, watch: Stopwatch, before: Fused | None
) -> tuple[Candidates, Fused]:
    """The candidates of pools of `depth`, fused.

    `before`: the result of shallower pools; the weights chosen there are kept, so that no score changes.
    """
    candidates = gather(
        view,
        vector=plan.vector,
        sparse=plan.sparse,
        depth=depth,
        allowed=plan.allowed,
        excluded=plan.excluded,
        watch=watch if before is None else watch.without_hurry(),  # all legs are deepened, or none
    )
    if not candidates.legs:  # there was no time for any leg
        return candidates, Fused(scores=np.zeros(0), legs={})
    with watch.stage("rank"):
        ranked = rank(candidates, query.fusion, None if before is None else before.choice)
        return reaching(candidates, ranked, query.selection.min_scores)


def _diversified(view: View, diversity: float, found: _Ranking) -> Int64Array:
    """The ranking as it is shown, reordered for diversity. If it was reranked, only the window takes part."""
    best = found.best
    if not diversity:
        return best
    first = best[: len(found.judged) or WINDOW]
    order = diverse(found.ranked.scores[first], view.vectors(found.candidates.ids[first]), diversity)
    return np.concatenate([first[order], best[len(first) :]])


def _behind(candidates: Candidates, settled: Int64Array, best: Int64Array) -> Int64Array:
    """The settled passages first, in their order, then the best passages of other documents."""
    if not len(settled):
        return best
    _, places, found = np.intersect1d(candidates.ids, settled, assume_unique=True, return_indices=True)
    first = places[np.argsort(found)]
    rest = best[~np.isin(candidates.documents[best], candidates.documents[first])]
    return np.concatenate([first, rest])


def _document(view: View, id_: str) -> int:
    """The store's number of the document."""
    number = view.document_numbers([id_]).get(id_)
    if number is None:
        raise DocumentNotFound(no_document(id_), param="id")
    return number


def _no_candidate(hit: int | str, candidates: int) -> HitNotFound:
    among = f"among the {candidates} candidates of this query"
    left_out = "the filter or min_scores leave it out, or no leg found it"
    if isinstance(hit, str):
        return HitNotFound(f"document {hit!r:.140} has no passage {among}: {left_out}", param="id")
    return HitNotFound(f"passage {hit} is not {among}: its document was replaced or deleted, {left_out}", param="id")
