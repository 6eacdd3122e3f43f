"""Resolve values on which a row and an index disagree: keep the one that is consistent with the rest.

One of the two was damaged, and they alone do not tell which. A reference to an existing row, a checksum, or data
derived from the value decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from core.unicode import is_unicode
from store.checksum import CHECKSUM, covered_columns, row_checksum
from store.repair.mending import Mending
from store.repair.passageindex import leave_to_be_dropped, part_from_engine
from store.terms import POSTING
from store.verify.file import check_catalog
from store.verify.jobs import check_jobs
from store.verify.reading import Reading

_CHECKED = {"collection": check_catalog, "generation": check_catalog, "job": check_jobs, "job_batch": check_jobs}
# Derived tables: their content is rebuilt wherever it does not fit the documents or the passages.
_DERIVED = ("document_field", "field", "change", "embedding", "term_count")
_NAMED = "SELECT collection.name, document.* FROM document JOIN collection ON collection.id = document.collection_id"


class Dispute(NamedTuple):
    """A value on which a row and an index disagree."""

    row: int
    column: str
    held: Any  # value in the row
    indexed: Any  # value in the index


def compare_index(mending: Mending, table: sa.Table, index: str, problems: Sequence[str]) -> list[Dispute] | None:
    """None where the index agrees with the table; otherwise the disputed values of rows that are in both.

    `problems`: the output of SQLite's integrity check. It may report wrongly ordered entries whose values agree.
    """
    columns = [row[2] for row in mending.rows(f'PRAGMA index_xinfo("{index}")') if row[2] is not None and row[5]]
    ((definition,),) = mending.rows("SELECT sql FROM sqlite_master WHERE name = ?", index)
    where = f" WHERE {str(definition).partition(' WHERE ')[2]}" if " WHERE " in str(definition) else ""
    listed = ", ".join(f'"{column}"' for column in columns)
    held = f"SELECT rowid, {listed} FROM {table.name} NOT INDEXED{where}"
    indexed = f'SELECT rowid, {listed} FROM {table.name} INDEXED BY "{index}"{where}'
    try:
        missing = {row[0]: row[1:] for row in mending.rows(f"{held} EXCEPT {indexed}")}
        extra = {row[0]: row[1:] for row in mending.rows(f"{indexed} EXCEPT {held}")}
    except sqlite3.DatabaseError:  # the index cannot be read, or the table cannot, which the next check reports
        return []
    (count,), (entries,) = (mending.rows(f"SELECT COUNT(*) FROM ({rows})")[0] for rows in (held, indexed))
    if not missing and not extra and count == entries and not any(index in line.split() for line in problems):
        return None
    return [
        Dispute(row, column, mine, other)
        for row in missing.keys() & extra.keys()
        for column, mine, other in zip(columns, missing[row], extra[row], strict=True)
        if mine != other
    ]


def settle(mending: Mending, table: sa.Table, disputes: Iterable[Dispute]) -> None:
    """Write the index's value into the row where that one is right. The index was rebuilt from the rows before."""
    for dispute in dict.fromkeys(disputes):
        if _broken(dispute.indexed):
            continue  # the index's value is not even text
        parents = [key.column for key in table.c[dispute.column].foreign_keys]
        if parents:
            _refer(mending, table, dispute, parents[0])
        elif dispute.column in covered_columns(table):
            if _fits_checksum(mending, table, dispute):
                _take(mending, table, dispute)
        elif table.name in _CHECKED:
            _try(mending, table, dispute)
        elif table.name == "passage":
            _suspect_passage(mending, dispute.row)
        elif table.name == "term":
            _suspect_users(mending, dispute.row)
        elif table.name == "segment":
            statement = "DELETE FROM segment WHERE generation_id = (SELECT generation_id FROM segment WHERE id = ?)"
            mending.execute(statement, dispute.row)
            mending.done.append(f"segment {dispute.row}: dropped with those of its generation, to be made anew")
        elif table.name == "passage_index":
            _bring_anew(mending, dispute)
        elif table.name not in _DERIVED:
            _doubt(mending, table, dispute)


def _bring_anew(mending: Mending, dispute: Dispute) -> None:
    """Start the external index over, and let the data under either name be dropped. Counts are always recounted."""
    if dispute.column in ("passages", "length"):
        return
    for (generation,) in mending.rows("SELECT generation_id FROM passage_index WHERE id = ?", dispute.row):
        if generation is not None:
            part_from_engine(mending, generation)
        elif dispute.column == "name":
            mending.execute("DELETE FROM passage_index WHERE id = ?", dispute.row)
            leave_to_be_dropped(mending, dispute.held)
    if dispute.column == "name":
        leave_to_be_dropped(mending, dispute.indexed)
    mending.done.append(f"passage_index {dispute.row}: begun anew, to be brought to Milvus again")


def _refer(mending: Mending, table: sa.Table, dispute: Dispute, parent: sa.Column[Any]) -> None:
    """Decide on a reference: prefer the value that refers to an existing row."""
    statement = f"SELECT 1 FROM {parent.table.name} WHERE {parent.name} = ?"
    held, indexed = (bool(mending.rows(statement, value)) for value in (dispute.held, dispute.indexed))
    if indexed and not held:
        _take(mending, table, dispute)
    elif indexed and table.name == "passage":
        for document in (dispute.held, dispute.indexed):
            mending.suspect(f"{_NAMED} WHERE document.id = ?", document)
    elif indexed and table.name not in _DERIVED:
        _doubt(mending, table, dispute)


def _fits_checksum(mending: Mending, table: sa.Table, dispute: Dispute) -> bool | None:
    """Whether the row's checksum fits with the index's value; False if it fits as is, None if with neither value."""
    covered = covered_columns(table)
    statement = f"SELECT {CHECKSUM}, {', '.join(covered)} FROM {table.name} WHERE rowid = ?"
    ((checksum, *columns),) = mending.rows(statement, dispute.row)
    row = dict(zip(covered, columns, strict=True))
    if row_checksum(*columns) == checksum:
        return False
    return True if row_checksum(*(row | {dispute.column: dispute.indexed}).values()) == checksum else None


def _take(mending: Mending, table: sa.Table, dispute: Dispute) -> None:
    _write(mending, table, dispute, dispute.indexed)
    mending.done.append(
        f"{table.name} {dispute.row}: its {dispute.column} is {dispute.indexed!r:.80} again, as its index said"
    )


def _try(mending: Mending, table: sa.Table, dispute: Dispute) -> None:
    """Try both values, and keep the one about which the table's check has fewer complaints."""
    held = _complaints(mending, table.name)
    try:
        _write(mending, table, dispute, dispute.indexed)
    except sqlite3.IntegrityError:  # such as a null where none is allowed
        return
    indexed = _complaints(mending, table.name)
    if _broken(dispute.held):
        _take(mending, table, dispute)
        return
    _write(mending, table, dispute, dispute.held)
    if indexed < held:
        _take(mending, table, dispute)
    elif indexed == held:
        _doubt(mending, table, dispute)


def _complaints(mending: Mending, table: str) -> int:
    reading = Reading(directory=mending.directory, connection=mending.connection, current=True)
    return sum(1 for _ in _CHECKED[table](reading))


def _write(mending: Mending, table: sa.Table, dispute: Dispute, value: Any) -> None:
    mending.execute(f'UPDATE {table.name} SET "{dispute.column}" = ? WHERE rowid = ?', value, dispute.row)


def _doubt(mending: Mending, table: sa.Table, dispute: Dispute) -> None:
    mending.doubts.append(
        f"{table.name} {dispute.row}: its {dispute.column} is {dispute.held!r:.80} in its row and "
        f"{dispute.indexed!r:.80} in an index; that of the row was kept"
    )


def _broken(value: Any) -> bool:
    return isinstance(value, str) and not is_unicode(value)


def _suspect_passage(mending: Mending, passage: int) -> None:
    mending.suspect(f"{_NAMED} JOIN passage ON document.id = document_id WHERE passage.id = ?", passage)


def _suspect_users(mending: Mending, term: int) -> None:
    """Mark the documents with a term whose text is in doubt: embedded anew, they get the right one."""
    generations = (
        "SELECT sha, sparse FROM embedding WHERE generation_id IN (SELECT generation.id FROM generation "
        "JOIN term ON term.collection_id = generation.collection_id WHERE term.id = ?)"
    )
    for sha, blob in mending.rows(generations, term):
        if len(blob) % POSTING.itemsize == 0 and (np.frombuffer(blob, POSTING)["term"] == term).any():
            mending.suspect(
                f"{_NAMED} JOIN passage ON document.id = document_id "
                "WHERE passage.sha = ? AND document.collection_id = (SELECT collection_id FROM term WHERE id = ?)",
                sha,
                term,
            )
