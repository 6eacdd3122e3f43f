"""Repair the records of external passage indexes: recount them, or start their replication over."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from core.records import IndexKind
from store import schema
from store.database import Database, WriteSession
from store.indexnames import is_name, new_name
from store.passageindex.counts import recount
from store.passageindex.record import begin_anew, find_record, get_record, insert_record
from store.repair.mending import Mending
from store.settings import parse_settings
from store.verify.reading import Finding

_CHECK = "passage index"


def mend_passage_indexes(
    database: Database, findings: Sequence[Finding], *, dry_run: bool = False
) -> tuple[list[str], list[str]]:
    """Returns what was done, and what could not be done and why."""
    done: list[str] = []
    failed: list[str] = []
    for name in sorted({one.collection for one in findings if one.check == _CHECK and one.collection is not None}):
        of_one = [finding for finding in findings if finding.collection == name]
        if any(finding.check == "embeddings" for finding in of_one):  # the counts are derived from them
            if not dry_run:  # in a dry run they are not repaired yet
                failed.append(f"the passage index of {name!r}: it can be mended once its embeddings are")
            continue
        lost = any(finding.elsewhere for finding in of_one)
        if not dry_run:
            with database.write() as session:
                _mend(session, name, anew=lost)
        done.append(f"the passage index of {name!r}: counted anew{', and brought to Milvus anew' if lost else ''}")
    return done, failed


def part_from_engine(mending: Mending, generation_id: int) -> None:
    """Start the index over under a new name, as `begin_anew` does. The generation may have no record."""
    for id_, name in mending.rows("SELECT id, name FROM passage_index WHERE generation_id = ?", generation_id):
        fresh = "UPDATE passage_index SET name = ?, seq = 0, removed_to = 0 WHERE id = ?"
        mending.execute(fresh, new_name(), id_)
        leave_to_be_dropped(mending, name)


def leave_to_be_dropped(mending: Mending, name: object) -> None:
    """Record that the engine has to drop the index `name`; does nothing if that is not a valid name."""
    if is_name(name) and not mending.rows("SELECT 1 FROM passage_index WHERE name = ?", name):
        left = "INSERT INTO passage_index (name, seq, removed_to, passages, length) VALUES (?, 0, 0, 0, 0.0)"
        mending.execute(left, name)


def _mend(session: WriteSession, name: str, *, anew: bool) -> None:
    generation, collection = schema.generation.c, schema.collection.c
    statement = sa.select(generation.id, collection.id.label("collection_id"), collection.settings).join_from(
        schema.generation, schema.collection
    )
    for row in session.execute(statement.where(collection.name == name)).all():
        if parse_settings(row.settings).index is IndexKind.MILVUS:
            session.execute(sa.delete(schema.segment).where(schema.segment.c.generation_id == row.id))
            if find_record(session, row.id) is None:
                insert_record(session, row.id)
            record = get_record(session, row.id)
            recount(session, record)
            if anew:
                begin_anew(session, record)
                if not is_name(record.name):  # no such index can exist
                    session.execute(sa.delete(schema.passage_index).where(schema.passage_index.c.name == record.name))
        else:
            own = schema.passage_index.c.generation_id == row.id
            session.execute(sa.update(schema.passage_index).where(own).values(generation_id=None))
            terms = sa.select(schema.term.c.id).where(schema.term.c.collection_id == row.collection_id)
            session.execute(sa.delete(schema.term_count).where(schema.term_count.c.term_id.in_(terms)))
