"""Shared state of the `verify` checks: a connection, the findings' type, and the progress."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.records import CollectionSettings, Document, Passage
from store.passageindex.protocol import PassageIndex

Progress = Callable[[str, int, int | None], None]  # what is being checked, how many are done, and of how many

# Recomputes a document's hashes, as far as that takes no model; returns what is wrong with them, or None. Arguments:
# the collection's settings, the document, its language, its hash, and its passages in text order, each with its hash.
Recheck = Callable[[CollectionSettings, Document, str, bytes, Sequence[tuple[Passage, bytes]]], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A problem that a check found."""

    check: str  # which check found it
    where: str  # the table, row, document, collection or job
    problem: str
    # What the finding is about, for the repair.
    collection: str | None = None
    documents: tuple[str, ...] = ()  # ids of documents that can be repaired by deriving everything from their texts
    fields: bool = False  # only the filter values of the documents are wrong
    embedding: int | None = None
    segment: str | None = None  # its name
    elsewhere: bool = False  # an external engine's data: the collection has to be replicated anew


@dataclass(kw_only=True, slots=True)
class Reading:
    """The state of one run of the checks."""

    directory: Path
    connection: sqlite3.Connection
    current: bool  # whether the file has the schema of this program
    recheck: Recheck | None = None
    index: PassageIndex | None = None  # the engine of collections with the index kind milvus
    on_progress: Progress | None = None
    checked: dict[str, int] = field(default_factory=dict)  # by kind: how many were checked
    notes: list[str] = field(default_factory=list)  # worth knowing, but no damage
    unchecked: list[str] = field(default_factory=list)  # what could not be checked, and why

    def rows(self, statement: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters)

    def count(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def renew(self) -> None:
        """Start a new read transaction, which sees the newest state."""
        self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN")

    def tick(self, what: str, done: int, total: int | None = None) -> None:
        """Report progress. `done`: the total so far."""
        self.checked[what] = done
        if self.on_progress is not None:
            self.on_progress(what, done, total)
