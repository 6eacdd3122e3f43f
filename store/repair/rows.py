"""Repair database rows: indexes, values on which a row and an index disagree, references, the change log, counters."""

from __future__ import annotations

import sqlite3
from collections import Counter

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from core.errors import StorageCorrupt
from store import schema
from store.directory import DATABASE_NAME
from store.repair.disputes import compare_index, settle
from store.repair.jobs import mend_jobs
from store.repair.mending import Mending
from store.repair.passageindex import part_from_engine
from store.verify.changes import check_changes
from store.verify.file import newest_given
from store.verify.reading import Reading


def mend_rows(mending: Mending) -> None:
    """Repair what can be decided from the database alone. Raises StorageCorrupt where a table cannot be read."""
    _make_missing_indexes(mending)
    _make_indexes_anew(mending)
    _remove_orphans(mending)
    _raise_counters(mending)
    mend_jobs(mending)
    _write_log_anew(mending)


def _make_missing_indexes(mending: Mending) -> None:
    found = {name for (name,) in mending.rows("SELECT name FROM sqlite_master WHERE type = 'index'")}
    for table in schema.metadata.tables.values():
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in found:
                mending.execute(str(sa.schema.CreateIndex(index).compile(dialect=sqlite.dialect())))
                mending.done.append(f"index {index.name}: made, it was missing")


def _make_indexes_anew(mending: Mending) -> None:
    """Rebuild indexes that differ from their table. The table's values win, unless other data confirms the index's."""
    problems = _index_problems(mending)
    if not problems:
        return
    for table in schema.metadata.tables.values():
        disputes, differing = [], []
        for name in _indexes_of(mending, table.name):
            found = compare_index(mending, table, name, problems)
            if found is not None:
                differing.append(name)
                disputes += found
        if not differing:
            continue
        try:
            mending.execute(f"REINDEX {table.name}")
        except sqlite3.IntegrityError as error:
            mending.failed.append(f"indexes of {table.name}: cannot be made anew, {error}")
            continue
        mending.done.append(f"{', '.join(differing)} of {table.name}: made anew from the table")
        settle(mending, table, disputes)
        problems = _index_problems(mending)
    if problems:
        raise StorageCorrupt(
            f"{mending.directory / DATABASE_NAME} is damaged beyond repair ({problems[0]}): restore a backup into a "
            f"new directory: salience restore BACKUP --data-dir {mending.directory}-restored"
        )


def _indexes_of(mending: Mending, table: str) -> list[str]:
    return [row[1] for row in mending.rows(f"PRAGMA index_list({table})")]


def _index_problems(mending: Mending) -> list[str]:
    """What SQLite's integrity check reports about the whole file."""
    return [str(line) for (line,) in mending.rows("PRAGMA integrity_check") if line != "ok"]


def _remove_orphans(mending: Mending) -> None:
    """Delete or cut off rows that refer to missing rows, as nothing finds them any more."""
    while orphans := mending.rows("PRAGMA foreign_key_check"):
        counts: Counter[tuple[str, str, str]] = Counter()
        for table, row, parent, key in orphans:
            column = _column_of(mending, table, key)
            if schema.metadata.tables[table].c[column].nullable:
                mending.execute(f"UPDATE {table} SET {column} = NULL WHERE rowid = ?", row)
                counts[table, parent, "cut off, they pointed at"] += 1
            else:
                mending.execute(f"DELETE FROM {table} WHERE rowid = ?", row)
                counts[table, parent, "removed, they belonged to"] += 1
        for (table, parent, what), count in counts.items():
            mending.done.append(f"{count} rows of {table}: {what} a {parent} that is gone")


def _column_of(mending: Mending, table: str, key: int) -> str:
    """The column of the foreign key with this number. A table may have several keys to one parent."""
    (column,) = (str(row[3]) for row in mending.rows(f"PRAGMA foreign_key_list({table})") if row[0] == key)
    return column


def _raise_counters(mending: Mending) -> None:
    counters = dict(mending.rows("SELECT name, seq FROM sqlite_sequence"))
    newest = newest_given(mending.connection)
    for name in counters.keys() - newest.keys():
        mending.execute("DELETE FROM sqlite_sequence WHERE name = ?", name)
        mending.done.append(f"the counter of {name!r}, which is no table: removed")
    for name, given in newest.items():
        counter = counters.get(name, 0)
        if not isinstance(counter, int) or counter < given:
            mending.execute("DELETE FROM sqlite_sequence WHERE name = ?", name)
            mending.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", name, given)
            mending.done.append(f"the counter of {name}: raised from {counter} to {given}")


def _write_log_anew(mending: Mending) -> None:
    """Rewrite the change logs that do not match the existing passages, and drop the segments built from them."""
    reading = Reading(directory=mending.directory, connection=mending.connection, current=True)
    wrong = {finding.collection for finding in check_changes(reading)}
    for name in sorted(filter(None, wrong)):
        ((generation,),) = mending.rows(
            "SELECT generation.id FROM generation JOIN collection ON collection.id = collection_id "
            "WHERE name = ? AND state = 'active'",
            name,
        )
        mending.execute("DELETE FROM change WHERE generation_id = ?", generation)
        mending.execute("DELETE FROM segment WHERE generation_id = ?", generation)
        part_from_engine(mending, generation)
        mending.execute(
            "INSERT INTO change (generation_id, operation, passage_id) SELECT ?, '+', passage.id FROM passage "
            "JOIN document ON document.id = document_id JOIN collection ON collection.id = collection_id "
            "WHERE name = ? ORDER BY passage.id",
            generation,
            name,
        )
        mending.done.append(f"the change log of {name!r}: written anew from its passages, and its segments dropped")
