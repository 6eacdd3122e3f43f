"""The way of a query: encode, the legs, fuse, fetch, explain."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from core.errors import SalienceError
from core.protocols import Encoder, SparseModels
from core.records import Collection, Float64Array, Int64Array, Scoring
from embedder.lexical import Analyzer
from retriever.candidates import POOL_DEPTH, gather, rank
from retriever.contrast import contrasted
from retriever.cursor import Cursor, query_key, unpacked
from retriever.encoding import EncodedQuery, QueryEncoder, searchable_legs, with_examples, without_models
from retriever.examples import Examples, blended_terms, read_examples
from retriever.explain import Asked, Explainer
from retriever.fusion import collapse
from retriever.grouping import Grouper, hit_groups
from retriever.hits import hit_of, parts_of
from retriever.intime import InTime
from retriever.ledger import HitParts
from retriever.legs import Leg, SparseTerms, learned_leg
from retriever.many import at_once, each
from retriever.query import Explain, Query
from retriever.ranking import Page, Sought, grouped_page, ranked_page, single_page
from retriever.result import Profile, SearchResult
from retriever.stopwatch import Stopwatch
from retriever.synonyms import SynonymReader
from retriever.telling import Teller
from retriever.terms import query_terms
from retriever.wordconditions import fulfilling
from store.documents import StoredPassage
from store.view import View
from store.views import Views


class Searcher:
    """Answers queries. Thread-safe; remembers nothing of them."""

    def __init__(
        self, views: Views, encoder: Encoder, analyzer: Analyzer, sparse_models: SparseModels | None = None
    ) -> None:
        """`sparse_models`: for collections with learned weights; None where there are none."""
        self._views = views
        self._analyzer = analyzer
        self._encoder = QueryEncoder(encoder, sparse_models)
        self._explainer = Explainer(encoder, analyzer)
        self._in_time = InTime()
        self._synonyms = SynonymReader(analyzer)
        self._teller = Teller(analyzer)

    def search(self, collection: str, query: Query) -> SearchResult:
        """The hits `query.offset` to `query.offset + query.k` of the collection, one for each document.

        Reads exactly one committed state. Ties break by passage id. Raises CollectionNotFound, InvalidFilter,
        InvalidControl, InvalidQuery for a leg that the collection lacks or the query has nothing for, and for a cursor
        of another query, CursorExpired, DocumentNotFound and HitNotFound for examples, ModelMismatch where the
        collection was embedded by another model, and ModelNotFound where its sparse model is not configured.
        """
        return self._run(collection, query, only=None)

    def search_many(
        self, collection: str, queries: Sequence[Query | SalienceError]
    ) -> list[SearchResult | SalienceError]:
        """What each of the queries finds, or its error, in order: all in one state, and encoded together.

        An error among the queries stays in its place. The time of all of them begins now. Raises what concerns all:
        CollectionNotFound, StorageError.
        """
        found = self._views.collection(collection)
        started = each(partial(_started, found), queries)
        encoded = at_once(partial(self._encoded, found), started)
        with self._views.open(collection) as view:
            moved = view.generation.id != found.active.id  # another collection has taken the name meanwhile
            drafts = [] if moved else each(lambda search: self._found(view, search), encoded)
        return self.search_many(collection, queries) if moved else each(self._explained, drafts)

    def explain(self, collection: str, query: Query, hit_id: int) -> SearchResult:
        """The result with the one hit `hit_id` of the query, explained in words whatever the query says.

        Any candidate can be asked for, also one that another passage of its document hides. Raises HitNotFound where
        the passage is gone, or is no candidate of this query.
        """
        return self._run(collection, replace(query, explain=Explain.WORDS, timeout_ms=None), only=hit_id)

    def try_scorings(self, collection: str, query: Query, scorings: Sequence[Scoring]) -> list[Int64Array]:
        """What the collection would answer under other settings: the first `query.k` documents under each.

        As the store's own numbers (`View.documents_of`), best first; the query is encoded once. Raises what `search`
        does.
        """
        found = self._views.collection(collection)
        [search] = self._encoded(found, [_started(found, query)])
        vector = search.encoded.vector
        tried: list[Int64Array] = []
        with self._views.open(collection) as view:
            sparse = self._sparse_terms(view, search, search.encoded, None)
            for (k1, b), group in groupby(scorings, key=lambda scoring: (scoring.k1, scoring.b)):
                rescored = view.rescored(k1=k1, b=b)
                candidates = gather(rescored, vector=vector, sparse=sparse, depth=POOL_DEPTH, allowed=None)
                for scoring in group:
                    ranked = rank(candidates, query.fusion.settled(scoring.alpha))
                    best = collapse(candidates.ids, ranked.scores, candidates.documents)[: query.k]
                    tried.append(candidates.documents[best])
        return tried

    def _run(self, name: str, query: Query, only: int | None) -> SearchResult:
        collection = self._views.collection(name)
        [search] = self._encoded(collection, [_started(collection, query)])
        with self._views.open(name) as view:
            moved = view.generation.id != collection.active.id  # another collection has taken the name meanwhile
            draft = None if moved else self._found(view, search, only)
        return self._run(name, query, only) if draft is None else self._explained(draft)

    def _encoded(self, collection: Collection, searches: Sequence[_Search]) -> list[_Search]:
        """In one batch; without what the models make where they do not answer in time."""
        left = [search.watch.seconds_left for search in searches]
        seconds = None if None in left else max(one for one in left if one is not None)
        asked = [(search.query, search.legs) for search in searches]
        start = time.perf_counter()
        try:
            made = self._in_time.call(partial(self._encoder.encode, collection, asked), seconds)
        except TimeoutError:
            made = [without_models(collection, query, legs) for query, legs in asked]
        took = (time.perf_counter() - start) * 1000
        for search in searches:
            search.watch.milliseconds["encode"] = took
        return [replace(search, encoded=encoded) for search, encoded in zip(searches, made, strict=True)]

    def _found(self, view: View, search: _Search, only: int | None = None) -> _Draft:
        """The hits of one state."""
        query, watch = search.query, search.watch
        query = replace(query, fusion=query.fusion.settled(view.collection.settings.alpha))
        key = query_key(view.collection, search.query)
        cursor = None if query.cursor is None else unpacked(query.cursor, key, view.generation.id)
        with watch.stage("terms"):
            examples = read_examples(view, query.inputs)
            encoded = with_examples(view, search.encoded, search.legs, examples)
            sparse = self._sparse_terms(view, search, encoded, examples)
        with watch.stage("filter"):
            allowed = None if query.filter is None else view.filter(query.filter)
            allowed = fulfilling(view, query.conditions, self._analyzer, allowed)
        sought = Sought(
            vector=encoded.vector,
            sparse=sparse,
            allowed=allowed,
            excluded=None if examples is None else examples.passages,
        )
        group_by = query.selection.group_by
        if only is not None:
            page = single_page(view, query, sought, only, watch)
        elif group_by is not None:
            page = grouped_page(view, query, sought, Grouper(view, group_by, allowed, sought.excluded), watch)
        else:
            page = ranked_page(view, query, sought, cursor, watch)
        ids = page.candidates.ids[page.shown]
        with watch.stage("fetch"):
            passages = view.fetch(ids)
            values: dict[Leg, Float64Array] = {}
            if query.explain is not Explain.NONE:
                values = {leg: terms.values(view, ids) for leg, terms in sparse.items() if leg in page.ranked.legs}
        parts = [
            parts_of(page.candidates, page.ranked, int(at), {leg: table[row] for leg, table in values.items()})
            for row, at in enumerate(page.shown)
        ]
        scores = page.ranked.scores[page.shown]
        hits = [
            hit_of(passage, float(score), part) for passage, score, part in zip(passages, scores, parts, strict=True)
        ]
        late = (*encoded.late, *page.candidates.late, *(("hits",) if page.late else ()))
        last = Cursor(
            generation=view.generation.id,
            seq=view.seq,
            place=page.start + len(hits),
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
            choice=page.ranked.choice,
            next=last.packed(key) if hits and page.more and only is None and not late else None,
            changed=cursor is not None and cursor.seq != view.seq,
            left_out=late,
            profile=_profile(view, page, allowed) if query.profile else None,
            groups=None if page.groups is None else hit_groups(page.groups, ids),
        )
        if only is None:
            result = self._teller.told(view, result, sparse, sought, passages, watch)
        return _Draft(
            result=result,
            collection=view.collection,
            encoded=encoded,
            sparse=sparse,
            passages=passages,
            parts=parts,
            watch=watch,
        )

    def _explained(self, draft: _Draft) -> SearchResult:
        result, watch = draft.result, draft.watch
        if result.query.explain is Explain.NONE or not result.hits:
            return result
        if watch.late:
            return replace(result, left_out=(*result.left_out, "explain"))
        with watch.stage("explain"):
            asked = Asked(
                query=result.query,
                sparse=draft.sparse,
                vector=draft.encoded.vector if Leg.DENSE in result.legs else None,
                as_text=draft.encoded.as_text,
            )
            hits = self._explainer.explain(
                draft.collection, result.seq, asked, draft.passages, result.hits, draft.parts
            )
        if result.query.explain is Explain.CONTRAST:
            with watch.stage("contrast"):
                hits = contrasted(partial(self.search_many, result.collection), result.query, hits, watch)
            if watch.seconds_left == 0:
                return replace(result, hits=tuple(hits), left_out=(*result.left_out, "contrast"))
        return replace(result, hits=tuple(hits))

    def _sparse_terms(
        self, view: View, search: _Search, encoded: EncodedQuery, examples: Examples | None
    ) -> dict[Leg, SparseTerms]:
        """What the sparse legs look for."""
        query, place = search.query, learned_leg(view.collection)
        found: dict[Leg, SparseTerms] = {}
        if Leg.SPARSE in search.legs and place is not Leg.SPARSE:
            terms = query_terms(query.text, query.controls, view.languages, self._analyzer)
            terms = self._synonyms.expanded(view, terms)
            found[Leg.SPARSE] = terms if examples is None else blended_terms(view, terms, examples)
        if place in search.legs and (learned := encoded.learned_terms) is not None:
            found[place] = learned
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """A query on its way."""

    query: Query
    legs: tuple[Leg, ...]
    watch: Stopwatch
    encoded: EncodedQuery = field(default_factory=EncodedQuery)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """A result that is yet to be explained, and what that takes."""

    result: SearchResult
    collection: Collection
    encoded: EncodedQuery
    sparse: Mapping[Leg, SparseTerms]
    passages: Sequence[StoredPassage]
    parts: Sequence[HitParts]
    watch: Stopwatch


def _started(collection: Collection, query: Query) -> _Search:
    """Raises InvalidQuery as `searchable_legs` does."""
    watch, legs = Stopwatch(timeout_ms=query.timeout_ms), searchable_legs(collection, query)
    query.selection.check_legs(legs)
    return _Search(query=query, legs=legs, watch=watch)


def _profile(view: View, page: Page, allowed: Int64Array | None) -> Profile:
    return Profile(
        pools=page.candidates.pools,
        depth=page.depth,
        candidates=len(page.candidates.ids),
        documents=page.documents,
        passages=view.passage_count,
        segments=view.segment_count,
        matches=None if allowed is None else len(allowed),
    )
