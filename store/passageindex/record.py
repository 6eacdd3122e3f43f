"""The database's record of a passage index in an external engine: its name, its progress, its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.errors import StorageCorrupt
from store import schema
from store.database import ReadSession, WriteSession
from store.indexnames import new_name
from store.prepared import Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRecord:
    """A row of the table; store/schema/passageindex.py documents the columns."""

    id: int
    generation_id: int | None
    name: str
    seq: int
    removed_to: int
    passages: int
    length: float


def insert_record(session: WriteSession, generation_id: int) -> None:
    """Add the record of a generation that is still empty."""
    row = {"generation_id": generation_id, "name": new_name()}
    session.execute(sa.insert(schema.passage_index), row | {"seq": 0, "removed_to": 0, "passages": 0, "length": 0.0})


def find_record(session: ReadSession, generation_id: int) -> IndexRecord | None:
    """The generation's record; None: no external engine holds it."""
    rows = _OF_GENERATION.rows(session, generation=generation_id)
    return IndexRecord(**dict(zip(_NAMES, rows[0], strict=True))) if rows else None


def get_record(session: ReadSession, generation_id: int) -> IndexRecord:
    """The generation's record. Raises StorageCorrupt where it is missing."""
    found = find_record(session, generation_id)
    if found is None:
        raise StorageCorrupt(f"the index of generation {generation_id} has no row; salience repair makes it anew")
    return found


def list_records(session: ReadSession) -> list[IndexRecord]:
    """All records, including those without a generation."""
    rows = session.execute(_RECORDS.order_by(schema.passage_index.c.id))
    return [IndexRecord(**dict(zip(_NAMES, row, strict=True))) for row in map(tuple, rows)]


def moved(session: WriteSession, record: IndexRecord, **progress: int) -> bool:
    """Update `seq` or `removed_to`. False, without a change, where the row no longer equals `record`, or is gone."""
    columns = schema.passage_index.c
    statement = sa.update(schema.passage_index).where(
        columns.id == record.id,
        columns.generation_id == record.generation_id,
        columns.name == record.name,
        columns.seq == record.seq,
        columns.removed_to == record.removed_to,
    )
    return session.execute(statement.values(**progress)).rowcount > 0


def begin_anew(session: WriteSession, record: IndexRecord) -> None:
    """Start the replication of the generation over, under another name.

    The old name is kept in a record of its own, so that its index gets removed.
    """
    columns = schema.passage_index.c
    session.execute(
        sa.update(schema.passage_index).where(columns.id == record.id).values(name=new_name(), seq=0, removed_to=0)
    )
    left = {"generation_id": None, "name": record.name, "seq": 0, "removed_to": 0, "passages": 0, "length": 0.0}
    session.execute(sa.insert(schema.passage_index), left)


def forget(session: WriteSession, record: IndexRecord) -> None:
    """Delete a record without a generation, once its index is removed from the engine."""
    columns = schema.passage_index.c
    session.execute(sa.delete(schema.passage_index).where(columns.id == record.id, columns.generation_id.is_(None)))


_NAMES = ("id", "generation_id", "name", "seq", "removed_to", "passages", "length")
_RECORDS: sa.Select[Any] = sa.select(*(schema.passage_index.c[name] for name in _NAMES))
_OF_GENERATION = Prepared(_RECORDS.where(schema.passage_index.c.generation_id == sa.bindparam("generation")))
