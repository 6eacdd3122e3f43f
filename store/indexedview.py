"""One committed state of a collection whose passages are held by an external engine.

The engine names candidates, from the part of the collection that was replicated to it. The tail, which was not, is in
memory, as in every view. Both are read from the database in the view's own transaction, and scored by the same code as
everywhere else. So scores are exact, nothing is found that this state does not have, and nothing is missed because it
was not replicated yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from core.errors import IndexUnavailable, InvalidFilter, InvalidQuery
from core.filters import Filter
from core.records import Float32Array, IndexKind, Int64Array
from store import bm25, dense, schema, sparse
from store.contents import read_contents
from store.database import ReadSession, chunks
from store.filters.sql import Documents, read_ids
from store.ids import belong, distinct
from store.passageindex import counts
from store.passageindex.protocol import MOST, PassageIndex, Weights
from store.passageindex.record import IndexRecord
from store.pool import Pool
from store.prepared import Prepared
from store.segments.segment import read_segment
from store.snapshot import Located, Part, Snapshot
from store.view import View

_SPARE = 64  # additional candidates that the engine is asked for: some may have been removed
_DEEPER = 4  # factor by which more are asked for where too few were left
_CHUNK = 50_000  # passages that one request names
_KEPT = 100_000  # passages from earlier reads that are kept for further ones
_FULL_READ = 50_000  # documents from which on their passages are found by reading all passages

Ask = Callable[[int, Int64Array | None], Int64Array]  # (count, allowed ids) -> ids, best first


class IndexedView(View):
    """Like `View`; methods that search also raise IndexUnavailable."""

    def __init__(self, session: ReadSession, snapshot: Snapshot, index: PassageIndex | None) -> None:
        """`index`: None where no engine is configured; then every search raises."""
        super().__init__(session, snapshot)
        assert snapshot.elsewhere is not None
        self._record: IndexRecord = snapshot.elsewhere
        self._index = index
        self._read: list[Part] = []  # passages that were read from the database for earlier searches

    def only(self, tree: Filter) -> View:
        """Raises InvalidFilter: the engine's statistics cannot be restricted to some of the documents."""
        raise InvalidFilter(
            f"the collection {self.collection.name!r} has the index milvus, which cannot show some documents as if "
            "there were no others: use a key without a row filter, or one collection for each tenant"
        )

    def rescored(self, *, k1: float, b: float) -> View:
        """Like `View.rescored`, but the engine's candidates remain those of the collection's own settings."""
        settings = replace(self.collection.settings, k1=k1, b=b)
        snapshot = self._snapshot.under(replace(self.collection, settings=settings))
        return IndexedView(self.session, snapshot, self._index)

    def passages_in(self, documents: Documents) -> Int64Array:
        passage, document = schema.passage.c, schema.document.c
        if not documents.others and len(documents.ids) < _FULL_READ:
            found = [
                read_ids(self.session, passage.id, passage.document_id.in_(chunk))
                for chunk in chunks(documents.ids.tolist())
            ]
            return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))
        rows = self.session.execute(
            sa.select(passage.id, passage.document_id)
            .join_from(schema.passage, schema.document)
            .where(document.collection_id == self.collection.id)
        )
        every = np.fromiter((n for row in rows for n in row), dtype=np.int64).reshape(-1, 2)
        return np.sort(every[documents.holds(every[:, 1]), 0])

    def nearest(self, vector: Float32Array, k: int, allowed: Int64Array | None = None) -> Pool:
        """Like `View.nearest`, among the candidates that the engine names."""
        vector = self._checked(vector)

        def ask(limit: int, among: Int64Array | None) -> Int64Array:
            return self._engine.nearest(self._record.name, vector, limit, among)

        among = self._candidates(ask, k, allowed)
        missing = min(k, self.passage_count if allowed is None else len(allowed)) - len(among)
        if missing > 0:  # a graph search may find too few; any passage is better than none
            among = distinct(np.concatenate([among, self._others(among, missing, allowed)]))
        snapshot = self._holding(among)
        return dense.nearest(snapshot.parts, vector, k, among, kind=IndexKind.EXACT, stacks=())

    def documents_holding(self, weights: Weights, ids: Sequence[int]) -> Documents:
        wanted = np.array(sorted(ids), dtype=np.int32)
        if not len(wanted):
            return Documents(np.empty(0, dtype=np.int64))
        named = self._tail()
        if self._record.seq:
            named = distinct(np.concatenate([self._engine.holding(self._record.name, weights, wanted), named]))
        found = [np.empty(0, dtype=np.int64)]
        for begin in range(0, len(named), _CHUNK):
            some = self._live(named[begin : begin + _CHUNK])
            learned = weights is Weights.LEARNED
            contents = read_contents(self.session, self.generation.id, some, learned=learned)
            held = contents.places[np.isin(contents.terms, wanted)]
            found.append(self._column(_DOCUMENTS, some[np.unique(held)]))
        return Documents(distinct(np.concatenate(found)))

    def every_passage(self) -> Int64Array:
        return self.passages_in(Documents(np.empty(0, dtype=np.int64), others=True))

    def every_document(self) -> Int64Array:
        document, passage = schema.document.c, schema.passage.c
        has = sa.select(passage.id).where(passage.document_id == document.id).correlate(schema.document).exists()
        return np.sort(read_ids(self.session, document.id, document.collection_id == self.collection.id, has))

    def _matching(
        self, weights: Weights, wanted: Sequence[tuple[int, float]], k: int, allowed: Int64Array | None
    ) -> Pool:
        terms = [(id_, factor) for id_, factor in wanted if factor > 0]
        if not terms:
            return sparse.matching(replace(self._snapshot, parts=()), sparse.WEIGHTED[weights], terms, k, allowed)
        ids, factors = (np.array(column) for column in zip(*terms, strict=True))

        def ask(limit: int, among: Int64Array | None) -> Int64Array:
            name, index = self._record.name, self._engine
            return index.matching(name, weights, ids.astype(np.int32), factors.astype(np.float32), limit, among)

        among = self._candidates(ask, k, allowed)
        return sparse.matching(self._holding(among), sparse.WEIGHTED[weights], wanted, k, among)

    def _candidates(self, ask: Ask, k: int, allowed: Int64Array | None) -> Int64Array:
        """Sorted ids of live, `allowed` passages, among them the k best."""
        if k + _SPARE > MOST:
            raise InvalidQuery(
                f"this search would have to look at the {k} best passages of a leg; of a collection with the index "
                f"milvus {MOST - _SPARE} can be looked at: ask for fewer hits or groups"
            )
        if allowed is not None and len(allowed) <= dense.EXACT_MATCHES:
            return self._live(allowed)
        tail = self._tail()
        found = self._enough(ask, k, allowed) if self._record.seq else tail  # seq 0: nothing was replicated yet
        if found is None:  # too many were not allowed, or are gone: name the passages to choose from in the requests
            named = self.every_passage() if allowed is None else allowed
            parts = [ask(k, named[begin : begin + _CHUNK]) for begin in range(0, len(named), _CHUNK)]
            found = self._live(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
        among = distinct(np.concatenate([found, tail]))
        return among if allowed is None else among[belong(among, allowed)]

    def _enough(self, ask: Ask, k: int, allowed: Int64Array | None) -> Int64Array | None:
        """Live and allowed passages among the engine's best; None where these are fewer than k."""
        share = 1.0 if allowed is None else len(allowed) / max(1, self.passage_count)
        limit = int((k + _SPARE) / max(share, 1e-9))
        while limit <= MOST:
            named = ask(limit, None)
            found = self._live(named)
            if allowed is not None:
                found = found[belong(found, allowed)]
            if len(found) >= k or len(named) < limit:
                return found
            limit = MOST if limit < MOST < limit * _DEEPER else limit * _DEEPER
        return None

    def _others(self, known: Int64Array, count: int, allowed: Int64Array | None) -> Int64Array:
        """Up to `count` live passages that are not among the known ones."""
        named = self.every_passage() if allowed is None else self._live(allowed)
        return named[~belong(named, known)][:count]

    def _live(self, ids: Int64Array) -> Int64Array:
        """The passages that this state of the collection has, sorted, even if the engine returns wrong ids."""
        return np.sort(self._column(_LIVE, ids))

    def _column(self, statement: Prepared, ids: Int64Array) -> Int64Array:
        rows = [
            row
            for chunk in chunks(ids.tolist())
            for row in statement.rows(self.session, ids=chunk, collection=self.collection.id)
        ]
        return np.fromiter((value for (value,) in rows), dtype=np.int64, count=len(rows))

    def _tail(self) -> Int64Array:
        """Sorted ids of the passages that were not replicated to the engine yet."""
        return super().every_passage()

    def _holding(self, ids: Int64Array) -> Snapshot:
        """A snapshot of the tail and of those of `ids` that are not in it, read from the database."""
        if sum(len(part.live) for part in self._read) > _KEPT:
            self._read.clear()
        known = [part.find(ids)[0] for part in (*self._snapshot.parts, *self._read)]
        new = np.delete(ids, np.concatenate([np.empty(0, dtype=np.int64), *known]))
        if len(new):
            segment = read_segment(self.session, self.generation.id, self.generation.dimension, new)
            if segment is not None:
                settings, average = self.collection.settings, self._snapshot.average_length
                weights = bm25.saturation(segment.postings.lengths, average, k1=settings.k1, b=settings.b)
                live = np.ones(len(segment.ids), dtype=np.bool_)
                part = Part(segment=segment, sealed=None, live=live, live_count=len(live), saturations=weights)
                self._read.append(part)
        return replace(self._snapshot, parts=(*self._snapshot.parts, *self._read))

    def _over(self, located: Located) -> Snapshot:
        return replace(self._snapshot, parts=tuple(part for part, _, _ in located))

    def _dfs(self, term_ids: Sequence[int]) -> list[int]:
        found = counts.dfs(self.session, term_ids)
        return [found.get(term, 0) for term in term_ids]

    @property
    def _engine(self) -> PassageIndex:
        if self._index is None:
            raise IndexUnavailable(
                f"the passages of the collection {self.collection.name!r} are held by Milvus, and this process was not "
                "told where that is: set SALIENCE_MILVUS__URI"
            )
        return self._index


def _of_own(column: sa.ColumnElement[int]) -> Prepared:
    """Select the column for those of the given passages that belong to the collection."""
    passage, document = schema.passage.c, schema.document.c
    # No join: SQLite would reorder it and scan the whole collection.
    collection = sa.select(document.collection_id).where(document.id == passage.document_id).scalar_subquery()
    ids = passage.id.in_(sa.bindparam("ids", expanding=True))
    return Prepared(sa.select(column).where(ids, collection == sa.bindparam("collection")))


_LIVE, _DOCUMENTS = _of_own(schema.passage.c.id), _of_own(schema.passage.c.document_id)
