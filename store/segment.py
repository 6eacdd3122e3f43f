"""Passages in memory, ready to search: vectors in an exact FAISS index, terms in postings. Never changed once built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import sqlalchemy as sa

from core.records import BoolArray, Float32Array, Int32Array, Int64Array
from store import schema
from store.database import ReadSession
from store.postings import Postings
from store.terms import POSTING

_READ_ROWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Row i of every part speaks of the passage ids[i]."""

    ids: Int64Array  # (rows,) ascending
    documents: Int64Array  # (rows,) document.id
    index: Any  # faiss.IndexFlatIP; its labels are rows
    vectors: Float32Array  # (rows, dimension) the index's own memory, not a copy
    largest_norm: float  # of a vector
    postings: Postings  # of terms, with their frequencies
    learned: Postings  # of vocabulary tokens, with their learned weights; empty without a sparse model

    @classmethod
    def build(
        cls, ids: Int64Array, documents: Int64Array, vectors: Float32Array, postings: Postings, learned: Postings
    ) -> Segment:
        """Of at least one row; `vectors` is copied."""
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        inside = faiss.rev_swig_ptr(index.get_xb(), vectors.size).reshape(vectors.shape)
        return cls(
            ids=ids,
            documents=documents,
            index=index,
            vectors=inside,
            largest_norm=float(np.sqrt(np.vecdot(inside, inside).max())),
            postings=postings,
            learned=learned,
        )

    def find(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Which of `ids` are here: their places in `ids`, and their rows."""
        rows = np.searchsorted(self.ids, ids)
        rows[rows == len(self.ids)] = 0
        places = np.flatnonzero(self.ids[rows] == ids)
        return places, rows[places]


def read_segment(session: ReadSession, generation_id: int, dimension: int, *, since: int) -> Segment | None:
    """The passages that came after the change `since` and are still there; None when there are none."""
    ids: list[Int64Array] = []
    documents: list[Int64Array] = []
    dense: list[bytes] = []
    sparse, learned = _Blobs(), _Blobs()
    result = session.execute(_added(generation_id, since).execution_options(yield_per=_READ_ROWS))
    for chunk in result.partitions():
        passage_ids, document_ids, dense_blobs, sparse_blobs, learned_blobs = zip(*chunk, strict=True)
        ids.append(np.array(passage_ids, dtype=np.int64))
        documents.append(np.array(document_ids, dtype=np.int64))
        dense.append(b"".join(dense_blobs))
        sparse.add(sparse_blobs)
        learned.add(learned_blobs)
    if not ids:
        return None
    all_ids = np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")  # changes follow the ids, but for passages that were filled in later
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    vectors = np.frombuffer(b"".join(dense), dtype="<f4").reshape(len(order), dimension)
    del dense
    in_order = bool((order[1:] > order[:-1]).all())
    return Segment.build(
        all_ids[order],
        np.concatenate(documents)[order],
        vectors if in_order else vectors[order],
        sparse.postings(place, in_order=in_order),
        learned.postings(place, in_order=in_order),
    )


def merge(segments: Sequence[tuple[Segment, BoolArray]]) -> Segment:
    """One segment of the rows that are live (second of the pair), of which there must be one or more."""
    live_ids = np.concatenate([segment.ids[live] for segment, live in segments])
    order = np.argsort(live_ids, kind="stable")
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Segment.build(
        live_ids[order],
        np.concatenate([segment.documents[live] for segment, live in segments])[order],
        np.concatenate([segment.vectors[live] for segment, live in segments])[order],
        _merged([(segment.postings, live) for segment, live in segments], place),
        _merged([(segment.learned, live) for segment, live in segments], place),
    )


class _Blobs:
    """The postings of passages as they are stored, passage by passage."""

    def __init__(self) -> None:
        self._content: list[bytes] = []
        self._counts: list[Int64Array] = []

    def add(self, blobs: Sequence[bytes | None]) -> None:
        present = [blob or b"" for blob in blobs]
        self._content.append(b"".join(present))
        self._counts.append(np.array([len(blob) // POSTING.itemsize for blob in present], dtype=np.int64))

    def postings(self, place: Int32Array, *, in_order: bool) -> Postings:
        """`place`: the row of each passage. Lets go of the blobs."""
        postings = np.frombuffer(b"".join(self._content), dtype=POSTING)
        self._content.clear()
        rows = np.repeat(place, np.concatenate(self._counts))
        return _postings(postings["term"], rows, postings["value"], len(place), in_order=in_order)


def _merged(parts: Sequence[tuple[Postings, BoolArray]], place: Int32Array) -> Postings:
    """Those of the live rows; `place` is the new row of each live row, part after part."""
    terms, rows, values = [], [], []
    begin = 0
    for postings, live in parts:
        count = int(live.sum())
        new_rows = np.zeros(len(live), dtype=np.int32)
        new_rows[live] = place[begin : begin + count]
        begin += count
        kept = live[postings.rows]
        terms.append(postings.term_of_each()[kept])
        rows.append(new_rows[postings.rows[kept]])
        values.append(postings.values[kept])
    return _postings(np.concatenate(terms), np.concatenate(rows), np.concatenate(values), len(place), in_order=False)


def _postings(terms: Int32Array, rows: Int32Array, values: Float32Array, row_count: int, *, in_order: bool) -> Postings:
    if not in_order:
        order = np.argsort(rows, kind="stable")
        terms, rows, values = terms[order], rows[order], values[order]
    return Postings.build(terms, rows, values, row_count=row_count)


def _added(generation_id: int, since: int) -> sa.Select[Any]:
    # A passage that was removed again is gone from its table, and with it from this join.
    change, passage, embedding = schema.change.c, schema.passage.c, schema.embedding.c
    return (
        sa.select(passage.id, passage.document_id, embedding.dense, embedding.sparse, embedding.learned)
        .select_from(schema.change)
        .join(schema.passage, passage.id == change.passage_id)
        .join(schema.embedding, (embedding.generation_id == change.generation_id) & (embedding.sha == passage.sha))
        .where(change.generation_id == generation_id, change.seq > since, change.operation == "+")
        .order_by(change.seq)
    )
