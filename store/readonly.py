"""Open a data directory's database read-only: nothing is created, migrated or checkpointed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import StorageCorrupt, StorageError
from store.directory import DATABASE_NAME
from store.faults import database_errors
from store.opened import enter, leave

BUSY_TIMEOUT_S = 10.0


@contextmanager
def open_read_only(directory: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, for one thread; bytes in texts that are not UTF-8 become lone surrogates.

    Raises StorageError where there is no database, StorageCorrupt where its write-ahead log is damaged or belongs to
    another database, and other errors of SQLite as a StorageError.
    """
    path = directory / DATABASE_NAME
    if not path.is_file():
        raise StorageError(f"{directory} holds no {DATABASE_NAME}: it is no data directory and no backup of one")
    enter(directory)
    try:
        with database_errors(directory):
            # Nothing is read yet: a file that is not a database is detected by the first statement.
            address = f"{path.resolve().as_uri()}?mode=ro"
            opened = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
            with closing(opened) as connection:
                connection.text_factory = decode
                try:
                    yield connection
                except UnicodeDecodeError as error:  # in SQLite's message, which quotes the damaged file
                    raise StorageCorrupt(f"data directory {directory}: its tables' definitions are damaged") from error
    finally:
        leave(directory)


def schema_version(connection: sqlite3.Connection) -> str | None:
    """The schema revision stored in the file; None where there is none."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:  # no such table
        return None
    return None if row is None else str(row[0])


def decode(raw: bytes) -> str:
    """Decode a stored text; bytes that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")
