"""The searcher: takes a query through encoding, retrieval by the legs, fusion, reranking and explanation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from core.context import check_awaited
from core.errors import SalienceError
from core.protocols import DenseModels, Rerankers, SparseModels
from core.records import Collection, Float64Array, IndexKind, Int64Array, Scoring
from embedder.lexical import Analyzer
from retriever.annotator import Annotator
from retriever.batch import at_once, each
from retriever.candidates import best_documents
from retriever.contrast import contrasted
from retriever.cursor import Cursor, query_key, unpacked
from retriever.encoding import EncodedQuery, QueryEncoder, searchable_legs, without_models
from retriever.explain import ExplainContext, Explainer
from retriever.fairgate import UNHURRIED_SECONDS, FairGate
from retriever.grouping import Grouper, hit_groups
from retriever.hits import hit_of, parts_of, profile_of
from retriever.ledger import HitParts
from retriever.legs import Leg, SparseTerms
from retriever.lrucache import audience
from retriever.planner import Planner, visible, with_defaults
from retriever.query import Explain, Query
from retriever.ranking import grouped_page, ranked_page, single_page, window_ids
from retriever.rerank import RERANK, Judge, Judged
from retriever.result import SearchResult
from retriever.stopwatch import Stopwatch
from retriever.timelimit import TimeLimit
from store.documents import StoredPassage
from store.view import View
from store.views import Views
from store.vocabulary import Vocabularies

_ROUNDS = 3  # attempts to rerank a window that concurrent writes change


class Searcher:
    """Answers queries. Thread-safe. The only state kept about queries is caches of recent model results."""

    def __init__(
        self,
        views: Views,
        models: DenseModels,
        analyzer: Analyzer,
        sparse_models: SparseModels | None = None,
        rerankers: Rerankers | None = None,
    ) -> None:
        """`sparse_models`: for collections with learned weights. Both it and `rerankers` are None if there are none."""
        self._views = views
        self._encoder = QueryEncoder(models, sparse_models)
        self._explainer = Explainer(models, analyzer)
        self._judge = Judge(rerankers)
        self._time_limit = TimeLimit()
        self._gate = FairGate()
        vocabularies = Vocabularies()
        self._planner = Planner(analyzer, vocabularies)
        self._annotator = Annotator(analyzer, vocabularies)

    @property
    def kept_bytes(self) -> dict[str, int]:
        """Memory used by the caches of model results, by kind."""
        queries, judgements, traces = self._encoder.kept_bytes, self._judge.kept_bytes, self._explainer.kept_bytes
        return {"queries": queries, "judgements": judgements, "traces": traces}

    def search(self, collection: str, query: Query) -> SearchResult:
        """The hits `query.offset` to `query.offset + query.k` of the collection, one for each document.

        Reads exactly one committed state. Ties are broken by passage id.

        Raises CollectionNotFound; InvalidFilter; InvalidControl; InvalidQuery for a leg that the collection lacks or
        the query has no input for, and for a cursor of another query; CursorExpired; DocumentNotFound and HitNotFound
        for examples; ModelMismatch if the collection's model is not available; and ModelNotFound if its sparse model,
        or the reranker, is not configured.
        """
        return self._run(collection, query, only=None)

    def search_many(
        self, collection: str, queries: Sequence[Query | SalienceError]
    ) -> list[SearchResult | SalienceError]:
        """The result or error of each query, in order: all see the same state, and are encoded together.

        An error in `queries` is returned in its place. All timeouts start now. Raises CollectionNotFound, StorageError.
        """
        found = self._views.collection(collection)
        started = each(partial(_started, found), queries)
        encoded = at_once(partial(self._encoded, found), started)
        drafts = self._drafts(collection, found, encoded)
        return self.search_many(collection, queries) if drafts is None else each(self._explained, drafts)

    def explain(self, collection: str, query: Query, hit: int | str) -> SearchResult:
        """The result with one hit of the query, explained in words whatever the query says.

        `hit` is its id, and any candidate can be asked for, also one that another passage of its document hides; or it
        is a document's id, which means the passage that a search shows. Raises HitNotFound where the passage is gone,
        or neither it nor one of the document's is a candidate of this query, and DocumentNotFound.
        """
        return self._run(collection, replace(query, explain=Explain.WORDS, timeout_ms=None), only=hit)

    def try_scorings(self, collection: str, query: Query, scorings: Sequence[Scoring]) -> list[Int64Array]:
        """The results of a query under other scoring settings: the first `query.k` documents for each of them.

        Documents are given as the store's numbers (`View.documents_of`), best first. The query is encoded once. Raises
        the errors of `search`.
        """
        found = self._views.collection(collection)
        [search] = self._encoded(found, [_started(found, query)])
        with self._views.open(collection) as view:
            if view.generation.id == found.active.id:
                sparse = self._planner.sparse_terms(view, query, search.legs, search.encoded)
                return best_documents(view, search.encoded.vector, sparse, query.fusion, scorings, query.k)
        return self.try_scorings(collection, query, scorings)

    def _run(self, name: str, query: Query, only: int | str | None, again: Stopwatch | None = None) -> SearchResult:
        """By what the name stood for lately, as nearly always it does still. `again`: of a search that begins anew."""
        lately = None if again else self._views.lately(name)
        collection, watch = lately or self._views.collection(name), again or Stopwatch(timeout_ms=query.timeout_ms)
        try:
            encoded = self._encoded(collection, [_started(collection, query, watch)])
        except SalienceError:
            if lately is None or lately == self._views.collection(name):
                raise
            return self._run(name, query, only, watch)
        drafts = self._drafts(name, collection, encoded, only)
        if drafts is None:
            return self._run(name, query, only, watch)
        [draft] = drafts
        if isinstance(draft, SalienceError):
            raise draft
        return self._explained(draft)

    def _drafts(
        self,
        name: str,
        collection: Collection,
        searches: Sequence[_Search | SalienceError],
        only: int | str | None = None,
    ) -> list[_Draft | SalienceError] | None:
        """The hits of all searches, in one state. None: the name refers to another collection by now.

        Rerankers run outside of any transaction. If other documents have entered a window in the meantime, it is judged
        again, at most _ROUNDS times in all; after that the search is not reranked.
        """
        for _ in range(_ROUNDS):
            searches = self._judged(name, collection, searches)
            with self._turn(collection), self._views.open(name) as view:
                if view.generation.id != collection.active.id:
                    return None
                drafts = each(partial(self._found, view, only=only), searches)
            if not any(isinstance(draft, _Draft) and draft.missed for draft in drafts):
                break
        return drafts

    def _judged(
        self, name: str, collection: Collection, searches: Sequence[_Search | SalienceError]
    ) -> list[_Search | SalienceError]:
        """The searches with the judgements of their rerankers, if any."""
        if not any(isinstance(search, _Search) and search.query.rerank for search in searches):
            return list(searches)
        with self._turn(collection), self._views.open(name) as view:
            if view.generation.id != collection.active.id:
                return list(searches)
            searches = each(partial(self._with_window, view), searches)
        return each(partial(self._with_judgement, collection), searches)

    def _turn(self, collection: Collection) -> AbstractContextManager[None]:
        return self._gate.entered() if self._takes_turns(collection) else nullcontext()

    def _takes_turns(self, collection: Collection) -> bool:
        """Whether searches take turns. Not with Milvus: there a search mostly waits for the external engine."""
        return collection.settings.index is not IndexKind.MILVUS

    def _with_window(self, view: View, search: _Search) -> _Search:
        """The search with the passages that the reranker is to judge."""
        if search.query.rerank is None:
            return search
        view, watch = visible(search.query, view), search.watch
        query = with_defaults(search.query, view)
        _, plan = self._planner.plan(view, query, search.legs, search.encoded, watch)
        ids = window_ids(view, query, plan, watch)
        with watch.stage("fetch"):
            return replace(search, window=view.fetch(ids))

    def _with_judgement(self, collection: Collection, search: _Search) -> _Search:
        """The search with the reranker's judgement, or without one if the model does not answer in time."""
        rerank, watch, sharing = search.query.rerank, search.watch, audience(collection.active, search.query.within)
        if rerank is None:
            return search
        with watch.stage(RERANK):
            text, window = search.query.text, search.window
            asked = partial(self._judge.judged, rerank.model, text, window, sharing, search.judged)
            try:
                return replace(search, judged=self._time_limit.call(asked, watch.seconds_left))
            except TimeoutError:
                return replace(search, judged=None)

    def _encoded(self, collection: Collection, searches: Sequence[_Search]) -> list[_Search]:
        """The searches, encoded in one batch; without the models' results if they do not answer in time."""
        left = [search.watch.seconds_left for search in searches]
        seconds = None if None in left else max(one for one in left if one is not None)
        encode = partial(self._encoder.encode, collection, [(search.query, search.legs) for search in searches])
        if self._takes_turns(collection) and (seconds is None or seconds > UNHURRIED_SECONDS):
            encode = partial(encode, self._gate.wait_for_queue)
        check_awaited()
        begun = time.perf_counter()
        try:
            made = self._time_limit.call(encode, seconds)
        except TimeoutError:
            made = [without_models(collection, search.query, search.legs) for search in searches]
        ended = time.perf_counter()
        for search in searches:
            search.watch.add("encode", begun, ended)
        return [replace(search, encoded=encoded) for search, encoded in zip(searches, made, strict=True)]

    def _found(self, view: View, search: _Search, only: int | str | None = None) -> _Draft:
        """The hits of one state."""
        view, watch = visible(search.query, view), search.watch
        query = with_defaults(search.query, view)
        key = query_key(view.collection, search.query)
        cursor = None if query.cursor is None else unpacked(query.cursor, key, view.generation.id)
        encoded, plan = self._planner.plan(view, query, search.legs, search.encoded, watch)
        plan = replace(plan, judged=search.judged)
        sparse, allowed, group_by = plan.sparse, plan.allowed, query.selection.group_by
        hurry = watch if query.rerank is None else watch.without_hurry()  # what was there before is there again
        if only is not None:
            page = single_page(view, query, plan, only, hurry)
        elif group_by is not None:
            page = grouped_page(view, query, plan, Grouper(view, group_by, allowed, plan.excluded), hurry)
        else:
            page = ranked_page(view, query, plan, cursor, hurry)
        ids = page.candidates.ids[page.shown]
        with watch.stage("fetch"):
            passages = view.fetch(ids)
            values: dict[Leg, Float64Array] = {}
            if query.explain is not Explain.NONE:
                values = {leg: terms.values(view, ids) for leg, terms in sparse.items() if leg in page.ranked.legs}
        parts = parts_of(page, values)
        scores = page.ranked.scores[page.shown].tolist()
        hits = [hit_of(passage, score, part) for passage, score, part in zip(passages, scores, parts, strict=True)]
        unjudged = page.missed or (query.rerank is not None and search.judged is None)
        stages = (RERANK,) if unjudged else ()
        late = (*encoded.late, *page.candidates.late, *(("hits",) if page.late else ()), *stages)
        last = Cursor(
            generation=view.generation.id,
            seq=view.seq,
            place=(page.start or 0) + len(hits),
            score=hits[-1].score if hits else 0.0,
            hit=hits[-1].id if hits else 0,
        )
        result = SearchResult(
            hits=tuple(hits),
            collection=view.collection.name,
            generation=view.generation,
            seq=view.seq,
            query=query,
            legs=tuple(leg for leg in search.legs if leg in page.ranked.legs),
            truncated_query=encoded.truncated,
            sparse_silent=bool(sparse) and all(terms.silent for terms in sparse.values()),
            stages_ms=watch.milliseconds,
            spans=watch.spans,
            choice=page.ranked.choice,
            next=last.packed(key) if hits and page.more and only is None and not late else None,
            start=page.start,
            changed=cursor is not None and cursor.seq != view.seq,
            left_out=late,
            profile=profile_of(view, page, allowed) if query.profile else None,
            groups=None if page.groups is None else hit_groups(page.groups, ids),
        )
        if only is None:
            result = self._annotator.annotated(view, result, sparse, plan, passages, watch)
        return _Draft(
            result=result,
            collection=view.collection,
            encoded=encoded,
            sparse=sparse,
            passages=passages,
            parts=parts,
            start=page.start or 0,
            watch=watch,
            judged=None if unjudged else search.judged,
            missed=page.missed,
        )

    def _explained(self, draft: _Draft) -> SearchResult:
        result, watch, parts = draft.result, draft.watch, draft.parts
        if result.query.explain is Explain.NONE or not result.hits:
            return result
        if watch.late:
            return replace(result, left_out=(*result.left_out, "explain"))
        with watch.stage("explain"):
            asked = ExplainContext(
                query=result.query,
                audience=audience(draft.collection.active, result.query.within),
                sparse=draft.sparse,
                vector=draft.encoded.vector if Leg.DENSE in result.legs else None,
                trace=draft.encoded.trace,
                as_text=draft.encoded.as_text,
                reranker=None if draft.judged is None else draft.judged.fingerprint,
            )
            hits = self._explainer.explain(draft.collection, result.seq, asked, draft.passages, result.hits, parts)
        if result.query.explain is Explain.CONTRAST:
            with watch.stage("contrast"):
                hits = contrasted(partial(self.search_many, result.collection), result.query, hits, draft.start, watch)
            if watch.seconds_left == 0:
                return replace(result, hits=tuple(hits), left_out=(*result.left_out, "contrast"))
        return replace(result, hits=tuple(hits))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """A query in progress."""

    query: Query
    legs: tuple[Leg, ...]
    watch: Stopwatch
    encoded: EncodedQuery = field(default_factory=EncodedQuery)
    window: Sequence[StoredPassage] = ()  # passages that the reranker is to judge
    judged: Judged | None = None  # its judgements; None: there is no reranker, or it did not answer in time


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """A result that is still to be explained, with the data needed for that."""

    result: SearchResult
    collection: Collection
    encoded: EncodedQuery
    sparse: Mapping[Leg, SparseTerms]
    passages: Sequence[StoredPassage]
    parts: Sequence[HitParts]
    start: int  # place of the first hit in the ranking, from 0
    watch: Stopwatch
    judged: Judged | None  # the judgements that the hits were reranked by
    missed: bool  # whether the window contains documents that were not judged


def _started(collection: Collection, query: Query, watch: Stopwatch | None = None) -> _Search:
    """Begin a search. Raises InvalidQuery as `searchable_legs` does, and for thresholds of other legs."""
    legs = searchable_legs(collection, query)
    query.selection.check_legs(legs)
    return _Search(query=query, legs=legs, watch=watch or Stopwatch(timeout_ms=query.timeout_ms))
