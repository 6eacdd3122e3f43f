"""A searchable segment: vectors, and terms in postings, in memory or over a mapped file. Immutable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from core.records import BoolArray, Float32Array, Int64Array
from store import schema
from store.contents import embedded
from store.database import ReadSession, chunks
from store.prepared import Prepared
from store.scan import Scan
from store.segments.postings import Postings
from store.terms import POSTING


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """An immutable set of passages. Row i of every part belongs to the passage ids[i]."""

    ids: Int64Array  # (rows,) ascending
    documents: Int64Array  # (rows,) document.id
    vectors: Float32Array  # (rows, dimension)
    largest_norm: float  # the largest length of a vector
    postings: Postings  # of terms, with their frequencies
    learned: Postings  # of vocabulary tokens, with their learned weights; empty without a sparse model
    scan: Scan | None = None  # None: searches read all vectors

    @classmethod
    def build(
        cls, ids: Int64Array, documents: Int64Array, vectors: Float32Array, postings: Postings, learned: Postings
    ) -> Segment:
        """Build a segment in memory. At least one row."""
        return cls(
            ids=ids,
            documents=documents,
            vectors=vectors,
            largest_norm=largest_norm(vectors),
            postings=postings,
            learned=learned,
        )

    def find(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Which of `ids` are here: their positions in `ids`, and their rows."""
        return find(self.ids, ids)

    def without(self, removed: Int64Array) -> BoolArray:
        """(rows,) which rows are live after the passages `removed` are removed."""
        live = np.ones(len(self.ids), dtype=np.bool_)
        live[self.find(removed)[1]] = False
        return live


def find(ascending: Int64Array, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Which of `ids` are in the non-empty `ascending`: their positions in `ids`, and in `ascending`."""
    rows = np.searchsorted(ascending, ids)
    rows[rows == len(ascending)] = 0
    places = np.flatnonzero(ascending[rows] == ids)
    return places, rows[places]


def largest_norm(vectors: Float32Array) -> float:
    """The largest length of a row; 0 without rows."""
    return float(np.sqrt(np.vecdot(vectors, vectors).max(initial=0.0)))


def read_segment(session: ReadSession, generation_id: int, dimension: int, ids: Int64Array) -> Segment | None:
    """Read the existing ones among the passages `ids` into memory; None when there are none."""
    ids = np.sort(ids)
    vectors = np.empty((len(ids), dimension), dtype=np.float32)
    found, documents = np.empty(len(ids), dtype=np.int64), np.empty(len(ids), dtype=np.int64)
    sparse, learned = _Blobs(), _Blobs()
    rows = 0
    for wanted in chunks(ids.tolist()):
        chunk = [row for row in _EMBEDDED.rows(session, generation=generation_id, ids=wanted) if row[2] is not None]
        if not chunk:
            continue
        passage_ids, document_ids, dense_blobs, sparse_blobs, learned_blobs = zip(*chunk, strict=True)
        end = rows + len(chunk)
        found[rows:end], documents[rows:end] = passage_ids, document_ids
        vectors[rows:end] = np.frombuffer(b"".join(dense_blobs), dtype="<f4").reshape(len(chunk), dimension)
        sparse.add(sparse_blobs)
        learned.add(learned_blobs)
        rows = end
    if not rows:
        return None
    return Segment.build(found[:rows], documents[:rows], vectors[:rows], sparse.postings(), learned.postings())


_EMBEDDED = Prepared(
    embedded(
        sa.bindparam("generation"),
        schema.passage.c.id,
        schema.passage.c.document_id,
        schema.embedding.c.dense,
        schema.embedding.c.sparse,
        schema.embedding.c.learned,
    )
    .where(schema.passage.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(schema.passage.c.id)
)


class _Blobs:
    """Stored postings, collected passage by passage."""

    def __init__(self) -> None:
        self._content: list[bytes] = []
        self._counts: list[int] = []

    def add(self, blobs: tuple[bytes | None, ...]) -> None:
        present = [blob or b"" for blob in blobs]
        self._content.append(b"".join(present))
        self._counts += [len(blob) // POSTING.itemsize for blob in present]

    def postings(self) -> Postings:
        """The postings with the passages as rows. Frees the blobs."""
        postings = np.frombuffer(b"".join(self._content), dtype=POSTING)
        self._content.clear()
        rows = np.repeat(np.arange(len(self._counts), dtype=np.int32), self._counts)
        return Postings.build(postings["term"], rows, postings["value"], row_count=len(self._counts))
