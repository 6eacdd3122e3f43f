"""Forward reads: the terms and weights of given passages (postings map the other way, from a term to its passages)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.records import Float32Array, Float64Array, Int32Array, Int64Array
from store import bm25, schema
from store.database import ReadSession
from store.terms import POSTING


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """One entry for every term of every passage read."""

    places: Int64Array  # (entries,) position of the passage among those asked for, ascending
    terms: Int32Array  # (entries,) ids
    values: Float32Array  # (entries,) frequencies, or learned weights; above 0

    def summed(self, shares: Float64Array, values: Float64Array | None = None) -> tuple[Int32Array, Float64Array]:
        """Distinct term ids, ascending, and for each the sum over the passages of its value times the passage's share.

        `shares`: (passages,). `values`: (entries,); None: the entries' own.
        """
        values = self.values.astype(np.float64) if values is None else values
        ids, entry = np.unique(self.terms, return_inverse=True)
        return ids, np.bincount(entry, weights=values * shares[self.places], minlength=len(ids)).astype(np.float64)

    def bm25_weights(self, *, count: int, average: float, k1: float, b: float) -> Float64Array:
        """(entries,) BM25 weights without idf. `count`: passages; `average`: mean passage length in the collection."""
        lengths = np.bincount(self.places, weights=self.values, minlength=count).astype(np.float64)
        saturations = bm25.saturation(lengths, average, k1=k1, b=b)
        return bm25.weights(self.values, saturations[self.places]).astype(np.float64)


def read_contents(session: ReadSession, generation_id: int, ids: Int64Array, *, learned: bool) -> Contents:
    """The terms of the distinct passages `ids`, or with `learned` the vocabulary tokens of their learned weights."""
    passage, embedding = schema.passage.c, schema.embedding.c
    statement = embedded(generation_id, passage.id, (embedding.learned if learned else embedding.sparse).label("blob"))
    wanted = ids.tolist()
    blobs = {row.id: row.blob or b"" for row in session.rows_where_in(statement, passage.id, wanted)}
    found = [np.frombuffer(blobs.get(id_, b""), dtype=POSTING) for id_ in wanted]
    postings = np.concatenate([np.empty(0, POSTING), *found])
    return Contents(
        places=np.repeat(np.arange(len(wanted), dtype=np.int64), [len(part) for part in found]),
        terms=postings["term"],
        values=postings["value"],
    )


def embedded(generation_id: int | sa.BindParameter[int], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select passages with their embeddings of the generation, null for those that have none.

    For use with a condition on `passage.id`. The outer join makes SQLite start from the passages. With an inner join
    and a hundred ids or more it would start from the embeddings and read all of the generation's.
    """
    passage, embedding = schema.passage.c, schema.embedding.c
    own = (embedding.sha == passage.sha) & (embedding.generation_id == generation_id)
    return sa.select(*columns).select_from(schema.passage.outerjoin(schema.embedding, own))


def term_texts(session: ReadSession, ids: Iterable[int]) -> dict[int, str]:
    """The texts of the terms with these ids."""
    columns = sa.select(schema.term.c.id, schema.term.c.text)
    return {row.id: row.text for row in session.rows_where_in(columns, schema.term.c.id, ids)}


def passages_of(session: ReadSession, document_ids: Iterable[int]) -> list[tuple[int, int]]:
    """(document.id, passage.id) of every passage of the documents with these `document.id`."""
    columns = sa.select(schema.passage.c.document_id, schema.passage.c.id)
    rows = session.rows_where_in(columns, schema.passage.c.document_id, document_ids)
    return sorted((row.document_id, row.id) for row in rows)
