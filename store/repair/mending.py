"""Shared state of the repair steps: a connection in a transaction, and the report so far."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store import schema
from store.checksum import CHECKSUM, covered_columns, row_checksum


@dataclass(slots=True)
class Mending:
    """One transaction of a repair, and what it reports."""

    connection: sqlite3.Connection
    directory: Path
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    suspects: dict[str, set[str]] = field(default_factory=dict)  # documents to be embedded anew, by collection

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters).fetchall()

    def execute(self, statement: str, *parameters: Any) -> None:
        self.connection.execute(statement, parameters)

    def suspect(self, statement: str, *parameters: Any) -> None:
        """Mark documents to be embedded anew. `statement` selects collection names and document rows in full.

        Rows whose checksum is wrong are skipped.
        """
        cursor = self.connection.execute(statement, parameters)
        names = [column[0] for column in cursor.description]
        for collection, *columns in cursor.fetchall():
            row = dict(zip(names[1:], columns, strict=True))
            if row_checksum(*(row[name] for name in covered_columns(schema.document))) == row[CHECKSUM]:
                self.suspects.setdefault(collection, set()).add(row["external_id"])
