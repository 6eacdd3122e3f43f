"""What the checks of `verify` share: a connection, what they found, and how far they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.records import CollectionSettings, Document, Passage
from store.passageindex.protocol import PassageIndex

Progress = Callable[[str, int, int | None], None]  # what is being checked, how many are, and of how many

# Computes a document's hashes anew, as far as that takes no model: what is wrong with them, or None. It is given the
# collection's settings, the document, its language, its hash, and its passages in text order, each with its hash.
Recheck = Callable[[CollectionSettings, Document, str, bytes, Sequence[tuple[Passage, bytes]]], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is not as it must be."""

    check: str  # which check found it
    where: str  # the table, row, document, collection or job
    problem: str
    # What it is about, for whoever repairs it.
    collection: str | None = None
    documents: tuple[str, ...] = ()  # ids of those that are right again when they are made anew from their texts
    fields: bool = False  # of which only the values that filters compare are wrong
    embedding: int | None = None
    segment: str | None = None  # its name
    elsewhere: bool = False  # what an engine elsewhere holds: the collection goes there anew


@dataclass(kw_only=True, slots=True)
class Reading:
    """One run of the checks."""

    directory: Path
    connection: sqlite3.Connection
    current: bool  # whether the file has the schema that this program speaks
    recheck: Recheck | None = None
    index: PassageIndex | None = None  # what collections of the index kind milvus are brought to
    on_progress: Progress | None = None
    checked: dict[str, int] = field(default_factory=dict)  # how many of what
    notes: list[str] = field(default_factory=list)  # what is no damage, and worth knowing
    unchecked: list[str] = field(default_factory=list)  # what a check could not look at, and why

    def rows(self, statement: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters)

    def count(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def renew(self) -> None:
        """From here on, see the state that is the newest now."""
        self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN")

    def tick(self, what: str, done: int, total: int | None = None) -> None:
        """`done` so far, in all."""
        self.checked[what] = done
        if self.on_progress is not None:
            self.on_progress(what, done, total)
