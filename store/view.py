"""A consistent view of one collection: the committed state that a search filters, scores and fetches from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from core.errors import InvalidControl, ModelMismatch
from core.filters import Filter
from core.records import (
    BoolArray,
    Collection,
    Float32Array,
    Float64Array,
    Generation,
    Int32Array,
    Int64Array,
    SparseVector,
)
from core.unicode import is_unicode
from store import bm25, dense, schema, sparse
from store.contents import passages_of, read_contents, term_texts
from store.database import ReadSession
from store.documents import StoredPassage, fetch_passages
from store.filters.sql import Documents, documents_where, read_ids
from store.ids import distinct
from store.passageindex.protocol import Weights
from store.pool import Pool, TermStatistics
from store.snapshot import Located, Snapshot
from store.terms import term_ids

_KNOWN_TERMS = 50_000  # term ids of a snapshot that are cached for the next search


class View:
    """One read transaction and the snapshot of exactly its state. Valid inside `Views.open`; for one thread.

    `ids` are passage ids; methods that score or fetch raise HitNotFound for one that does not exist, or no longer does.
    `k` is 1 or more.
    """

    def __init__(self, session: ReadSession, snapshot: Snapshot, seen: Documents | None = None) -> None:
        """`seen`: the documents that `snapshot` is restricted to; None: no restriction."""
        self._session = session
        self._snapshot = snapshot
        self._seen = seen
        self._term_ids: dict[str, int | None] = {}
        self._df: dict[str, int] = {}
        self._idf: dict[str, float] = {}
        self._statistics: dict[tuple[str, ...], TermStatistics] = {}
        self._located: tuple[Int64Array, Located] | None = None  # the last ids located

    @property
    def collection(self) -> Collection:
        return self._snapshot.collection

    @property
    def generation(self) -> Generation:
        return self._snapshot.collection.active

    @property
    def seq(self) -> int:
        """Identifies the state: two views of one generation with the same seq hold the same."""
        return self._snapshot.seq

    @property
    def session(self) -> ReadSession:
        """The read transaction, for other reads of the store from this state."""
        return self._session

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def passage_count(self) -> int:
        return self._snapshot.passage_count

    @property
    def segment_count(self) -> int:
        """Number of sealed segments and of those in memory that make up the tail."""
        return len(self._snapshot.parts)

    @property
    def restricted(self) -> bool:
        """Whether it shows only some of the documents, as if there were no others."""
        return self._seen is not None

    def only(self, tree: Filter) -> View:
        """The same state as if only the documents that satisfy `tree` existed.

        Nothing in it reveals the others: not statistics, suggestions or errors. A field that no document ever had
        simply has no values here.
        """
        found = self.visible(documents_where(self._session, self.collection.id, tree, silent=True))
        return View(self._session, self._snapshot.only(found), found)

    def visible(self, documents: Documents) -> Documents:
        """The documents of the set that the view shows."""
        return documents if self._seen is None else documents & self._seen

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the documents, sorted."""
        known = self._snapshot.known_languages
        if not known:
            language = schema.document.c.language
            least = sa.select(sa.func.min(language)).where(schema.document.c.collection_id == self.collection.id)
            languages: list[str] = []
            # One index look-up per language; DISTINCT would read an entry for each document.
            found = self._session.execute(least).scalar()
            while found is not None:
                languages.append(found)
                found = self._session.execute(least.where(language > found)).scalar()
            known[:] = [code for code in languages if self._seen is None or len(self.documents_in(code).ids)]
        return tuple(known)

    def documents_in(self, language: str) -> Documents:
        """The documents in this language."""
        document = schema.document.c
        where = (document.collection_id == self.collection.id, document.language == language)
        return self.visible(Documents(np.sort(read_ids(self._session, document.id, *where))))

    def rescored(self, *, k1: float, b: float) -> View:
        """The same state, scored by BM25 with other settings."""
        settings = replace(self.collection.settings, k1=k1, b=b)
        return View(self._session, self._snapshot.under(replace(self.collection, settings=settings)), self._seen)

    def filter(self, tree: Filter) -> Int64Array:
        """Ids of the passages whose document satisfies `tree`, sorted. Raises InvalidFilter."""
        found = documents_where(self._session, self.collection.id, tree, silent=self.restricted)
        return self.passages_in(found)

    def passages_in(self, documents: Documents) -> Int64Array:
        """Ids of the documents' passages, sorted."""
        found = [part.segment.ids[part.live & documents.holds(part.segment.documents)] for part in self._snapshot.parts]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def documents_holding(self, weights: Weights, ids: Sequence[int]) -> Documents:
        """The documents with a passage that has a weight for any of the terms or tokens."""
        found = [np.empty(0, dtype=np.int64)]
        for part in self._snapshot.parts:
            postings, _ = sparse.WEIGHTED[weights](part)
            for id_ in ids:
                rows = postings.rows[postings.span(id_)]
                found.append(part.segment.documents[rows[part.live[rows]]])
        return Documents(distinct(np.concatenate(found)))

    def every_passage(self) -> Int64Array:
        """Sorted ids of all passages."""
        found = [part.segment.ids[part.live] for part in self._snapshot.parts]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def every_document(self) -> Int64Array:
        """Sorted `document.id` of all documents that have a passage."""
        found = [part.segment.documents[part.live] for part in self._snapshot.parts]
        return distinct(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def nearest(self, vector: Float32Array, k: int, allowed: Int64Array | None = None) -> Pool:
        """The k passages with the largest dot product with `vector`, shape (dimension,); see `dense.nearest`.

        `allowed`: ids to choose from, ascending and distinct; ids that do not exist are ignored. None: all. Scores are
        those of `dense_scores`.
        """
        snapshot, kind = self._snapshot, self.collection.settings.index
        return dense.nearest(snapshot.parts, self._checked(vector), k, allowed, kind=kind, stacks=snapshot.stacks)

    def matching(self, terms: Mapping[str, float], k: int, allowed: Int64Array | None = None) -> Pool:
        """The k passages with the largest sum of factor * idf * weight over `terms` (term: factor, 0 or more).

        A passage matches if it has any of the terms with a factor above 0. Fewer than k only if fewer match.
        `allowed`: as in `nearest`. Raises InvalidControl for a factor that is negative or not finite.
        """
        for term, factor in terms.items():
            if not (np.isfinite(factor) and factor >= 0):
                raise InvalidControl(f"factor {factor} of the term {term!r}: must be a finite number, 0 or more")
        statistics = self.term_statistics([term for term, factor in terms.items() if factor > 0])
        wanted = [(self._known(term), terms[term] * idf) for term, idf in statistics.idf.items() if idf > 0]
        return self._matching(Weights.BM25, wanted, k, allowed)

    def matching_learned(self, vector: SparseVector, k: int, allowed: Int64Array | None = None) -> Pool:
        """The k passages with the largest dot product of learned weights with `vector`; only those above 0.

        `allowed`: as in `nearest`.
        """
        wanted = [(int(id_), float(weight)) for id_, weight in zip(vector.ids, vector.weights, strict=True)]
        return self._matching(Weights.LEARNED, wanted, k, allowed)

    def dense_scores(self, vector: Float32Array, ids: Int64Array, chosen: BoolArray | None = None) -> Float64Array:
        """(n,) dot products with the passages' vectors, summed in float64.

        `chosen`: (n,) which of them to compute, with 0 for the others; None: all.
        """
        vector = self._checked(vector)
        scores, places_of, pieces = np.zeros(len(ids), dtype=np.float64), [], []
        for part, places, rows in self._locate(ids):
            if chosen is not None:
                kept = chosen[places]
                places, rows = places[kept], rows[kept]
            places_of.append(places)
            pieces.append((part.segment.vectors, rows))
        if pieces:
            scores[np.concatenate(places_of)] = dense.products(pieces, vector)
        return scores

    def sparse_products(self, terms: Sequence[str], ids: Int64Array) -> Float64Array:
        """(n, terms) idf * weight of every term in every passage; 0 where it does not occur. No factors."""
        idf = self.term_statistics(terms).idf
        wanted = [(self._known(term), idf[term]) for term in terms]
        located = self._locate(ids)
        return sparse.products(self._over(located), sparse.bm25_weights, wanted, ids, located)

    def learned_weights(self, token_ids: Int32Array, ids: Int64Array) -> Float64Array:
        """(n, tokens) the learned weight of every vocabulary token in every passage; 0 where it has none."""
        wanted = [(int(id_), 1.0) for id_ in token_ids]
        located = self._locate(ids)
        return sparse.products(self._over(located), sparse.learned_weights, wanted, ids, located)

    def term_statistics(self, terms: Sequence[str]) -> TermStatistics:
        """BM25's statistics of the terms; terms that no passage contains have a df and an idf of 0."""
        asked = tuple(terms)
        if asked not in self._statistics:
            self._look_up(asked)
            fresh = [term for term in dict.fromkeys(asked) if term not in self._df]
            # Unknown terms are looked up as id 0, which no term has, so that no passage contains it.
            for term, count in zip(fresh, self._dfs([self._known(term) for term in fresh]), strict=True):
                self._df[term] = count
                self._idf[term] = bm25.idf(self.passage_count, count) if count else 0.0
            self._statistics[asked] = TermStatistics(
                passages=self.passage_count,
                average_length=self._snapshot.average_length,
                df={term: self._df[term] for term in asked},
                idf={term: self._idf[term] for term in asked},
            )
        return self._statistics[asked]

    def vectors(self, ids: Int64Array) -> Float32Array:
        """(n, dimension) float32, the stored vectors of the passages."""
        vectors = np.empty((len(ids), self.generation.dimension), dtype=np.float32)
        for part, places, rows in self._locate(ids):
            vectors[places] = part.segment.vectors[rows]
        return vectors

    def documents_of(self, ids: Int64Array) -> Int64Array:
        """(n,) the store's own number of each passage's document."""
        documents = np.empty(len(ids), dtype=np.int64)
        for part, places, rows in self._locate(ids):
            documents[places] = part.segment.documents[rows]
        return documents

    def passages_of(self, documents: Iterable[int]) -> dict[int, list[int]]:
        """Ids of all passages of the documents with these numbers, by number; documents without any are left out."""
        found: dict[int, list[int]] = {}
        for document, passage in passages_of(self._session, documents):
            found.setdefault(document, []).append(passage)
        return found

    def terms_of(self, ids: Int64Array, shares: Float64Array) -> dict[str, float]:
        """By term, the sum of its BM25 weights (0..1, without idf) in the passages, each times the passage's share."""
        settings = self.collection.settings
        found = read_contents(self._session, self.generation.id, ids, learned=False)
        weights = found.bm25_weights(
            count=len(ids), average=self._snapshot.average_length, k1=settings.k1, b=settings.b
        )
        terms, sums = found.summed(shares, weights)
        texts = term_texts(self._session, terms.tolist())
        return {texts[term]: weight for term, weight in zip(terms.tolist(), sums.tolist(), strict=True)}

    def learned_of(self, ids: Int64Array, shares: Float64Array) -> SparseVector:
        """The learned weights of the passages, summed, each times the passage's share."""
        found = read_contents(self._session, self.generation.id, ids, learned=True)
        tokens, sums = found.summed(shares)
        return SparseVector(ids=tokens, weights=sums.astype(np.float32))

    def document_numbers(self, ids: Iterable[str]) -> dict[str, int]:
        """The store's own numbers of the documents with these ids, as in `documents_of`; unknown ones are left out."""
        document = schema.document.c
        columns = sa.select(document.external_id, document.id).where(document.collection_id == self.collection.id)
        known = (id_ for id_ in ids if is_unicode(id_))  # SQLite takes no others
        found = self._session.rows_where_in(columns, document.external_id, known)
        return {row.external_id: row.id for row in found if self._sees(row.id)}

    def fetch(self, ids: Int64Array) -> list[StoredPassage]:
        """The passages with these `ids`, in that order."""
        if self.restricted:
            self._locate(ids)
        return fetch_passages(self._session, self.collection.id, ids)

    def _matching(
        self, weights: Weights, wanted: Sequence[tuple[int, float]], k: int, allowed: Int64Array | None
    ) -> Pool:
        """The k best passages. `wanted`: ids of terms or tokens, and their factors."""
        return sparse.matching(self._snapshot, sparse.WEIGHTED[weights], wanted, k, allowed)

    def _locate(self, ids: Int64Array) -> Located:
        """Like `Snapshot.locate`, caching the last result: a search asks for the same candidates several times."""
        if self._located is None or self._located[0] is not ids:
            self._located = ids, self._holding(ids).locate(ids)
        return self._located[1]

    def _holding(self, ids: Int64Array) -> Snapshot:
        """A snapshot that contains these passages, scored like the whole collection."""
        return self._snapshot

    def _over(self, located: Located) -> Snapshot:
        """A snapshot of the parts in which passages were located."""
        return self._snapshot

    def _dfs(self, term_ids: Sequence[int]) -> list[int]:
        """(n,) number of passages that contain each of the terms."""
        return self._snapshot.dfs(term_ids)

    def _sees(self, document: int) -> bool:
        return self._seen is None or bool(self._seen.holds(np.array([document]))[0])

    def _checked(self, vector: Float32Array) -> Float32Array:
        if vector.shape != (self.generation.dimension,):
            raise ModelMismatch(
                f"a query vector of shape {vector.shape}; the collection {self.collection.name!r} holds vectors of "
                f"{self.generation.dimension} dimensions, made by {self.generation.model}"
            )
        return vector

    def _look_up(self, terms: Iterable[str]) -> None:
        """Look up term ids for `_known`."""
        shared = self._snapshot.known_terms
        if len(shared) > _KNOWN_TERMS:
            shared.clear()
        new = [term for term in terms if term not in self._term_ids]
        self._term_ids |= {term: id_ for term in new if (id_ := shared.get(term, -1)) != -1}
        unknown = [term for term in new if term not in self._term_ids]
        if unknown:
            ids = term_ids(self._session, self.collection.id, unknown)
            found = {term: ids.get(term) for term in unknown}
            self._term_ids |= found
            shared.update(found)

    def _known(self, term: str) -> int:
        return self._term_ids[term] or 0  # no term has the id 0
