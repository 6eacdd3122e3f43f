"""Collection statistics for BM25: number of passages, their total length, and the document frequency of each term.

Segments are counted when they are read. For an external engine every commit updates the counts in its transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from store import schema
from store.database import ReadSession, WriteSession, chunks
from store.passageindex.record import IndexRecord, find_record
from store.terms import POSTING

_BLOCK = 5_000  # passages


def count(session: WriteSession, generation_id: int, changes: Mapping[bytes, int]) -> None:
    """Record that passages were added (above 0) or removed (below 0), by the SHA of their embedding.

    The embeddings must still be stored. Does nothing where no external engine holds the generation.
    """
    record = find_record(session, generation_id)
    changes = {sha: number for sha, number in changes.items() if number}
    if record is None or not changes:
        return
    terms: Counter[int] = Counter()
    length = 0.0
    embedding = schema.embedding.c
    stored = sa.select(embedding.sha, embedding.sparse).where(embedding.generation_id == generation_id)
    for row in session.rows_where_in(stored, embedding.sha, changes):
        postings, number = np.frombuffer(row.sparse, dtype=POSTING), changes[row.sha]
        for term in postings["term"].tolist():
            terms[term] += number
        length += number * float(postings["value"].sum(dtype=np.float64))
    columns = schema.passage_index.c
    session.execute(
        sa.update(schema.passage_index)
        .where(columns.id == record.id)
        .values(passages=columns.passages + sum(changes.values()), length=columns.length + length)
    )
    _add(session, terms)
    counted = schema.term_count.c
    for chunk in chunks(term for term, number in terms.items() if number < 0):
        session.execute(sa.delete(schema.term_count).where(counted.term_id.in_(chunk), counted.passages == 0))


def dfs(session: ReadSession, term_ids: Iterable[int]) -> dict[int, int]:
    """Number of passages of its collection that contain a term, by term id; terms without any are left out."""
    columns = schema.term_count.c
    return {
        row.term_id: row.passages
        for row in session.rows_where_in(sa.select(columns.term_id, columns.passages), columns.term_id, term_ids)
    }


def recounted(session: ReadSession, generation_id: int) -> tuple[int, float, dict[int, int]]:
    """The correct `passages`, `length` and counts by term id. Reads all terms of the generation."""
    passages, length, terms = 0, 0.0, np.zeros(0, dtype=np.int64)
    for number, postings in _passages(session, generation_id):
        passages += number
        length += float(postings["value"].sum(dtype=np.float64))
        found = np.bincount(postings["term"], minlength=len(terms))
        found[: len(terms)] += terms
        terms = found
    held = np.flatnonzero(terms)
    return passages, length, dict(zip(held.tolist(), terms[held].tolist(), strict=True))


def recount(session: WriteSession, record: IndexRecord) -> None:
    """Correct the stored counts of a generation."""
    assert record.generation_id is not None
    passages, length, terms = recounted(session, record.generation_id)
    generation, term = schema.generation.c, schema.term.c
    collection = sa.select(generation.collection_id).where(generation.id == record.generation_id).scalar_subquery()
    own = sa.select(term.id).where(term.collection_id == collection)
    session.execute(sa.delete(schema.term_count).where(schema.term_count.c.term_id.in_(own)))
    _add(session, terms)
    columns = schema.passage_index.c
    session.execute(
        sa.update(schema.passage_index).where(columns.id == record.id).values(passages=passages, length=length)
    )


def _add(session: WriteSession, terms: Mapping[int, int]) -> None:
    rows = [{"term_id": term, "passages": number} for term, number in terms.items() if number]
    if not rows:
        return
    statement = insert(schema.term_count)
    present = schema.term_count.c.passages
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["term_id"], set_={"passages": present + statement.excluded.passages}
        ),
        rows,
    )


def _passages(session: ReadSession, generation_id: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The number of passages and their postings, block by block."""
    passage, embedding = schema.passage.c, schema.embedding.c
    statement = (
        sa.select(embedding.sparse)
        .join_from(schema.passage, schema.embedding, embedding.sha == passage.sha)
        .join_from(schema.passage, schema.document)
        .join(schema.generation, schema.generation.c.collection_id == schema.document.c.collection_id)
        .where(embedding.generation_id == generation_id, schema.generation.c.id == generation_id)
    )
    for block in session.execute(statement).scalars().partitions(_BLOCK):
        yield len(block), np.frombuffer(b"".join(block), dtype=POSTING)
