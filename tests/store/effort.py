"""What statements cost SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from store import Database
from store.database import ReadSession, _driver


@contextmanager
def steps(session: ReadSession) -> Iterator[list[None]]:
    """One entry for every hundred instructions that SQLite carries out meanwhile."""
    found: list[None] = []
    driver = _driver(session._connection)
    driver.set_progress_handler(lambda: found.append(None), 100)
    try:
        yield found
    finally:
        driver.set_progress_handler(None, 100)


def allow_variables(database: Database, count: int) -> None:
    """Let a statement have at most `count` variables, which SQLite may be compiled with."""

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, count)

    sa.event.listen(database._engine, "checkout", limit)
