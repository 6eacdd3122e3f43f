"""Repair the database file: open it for repairs, or rewrite it where an index cannot be repaired in place."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import StorageCorrupt
from core.syncing import make_directories
from store.directory import BACKUPS, DATABASE_NAME
from store.failpoints import reached
from store.faults import database_errors, file_errors
from store.migrate import APPLICATION_ID
from store.opened import enter, leave
from store.readonly import BUSY_TIMEOUT_S, decode

_OURS = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that can write, and reads texts even if they are not valid UTF-8."""

    connection: sqlite3.Connection
    directory: Path

    @contextmanager
    def transaction(self, *, undo: bool) -> Iterator[None]:
        """`undo`: roll back at the end."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("ROLLBACK" if undo else "COMMIT")

    def close(self) -> None:
        self.connection.close()
        leave(self.directory)


def open_to_mend(directory: Path) -> Opened:
    """Open the database to repair it. Raises StorageCorrupt for a damaged log."""
    enter(directory)
    try:
        connection = sqlite3.connect(directory / DATABASE_NAME, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        connection.text_factory = decode
        for pragma in ("synchronous = FULL", "wal_autocheckpoint = 0", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        leave(directory)
        raise
    return Opened(connection, directory)


def write_anew(directory: Path) -> None:
    """Copy all rows into a new file, build its indexes, and overwrite the old file with it in one transaction.

    Raises StorageCorrupt where a table cannot be read, or rows violate a unique constraint; StorageFull.
    """
    with file_errors(directory):
        make_directories(directory / BACKUPS)
        # If this is killed, the folder is left behind, and removed like an unfinished backup.
        folder = Path(tempfile.mkdtemp(prefix=".repair.unfinished-", dir=directory / BACKUPS))
    try:
        with database_errors(directory), closing(open_to_mend(directory)) as opened:
            try:
                _copy_rows(opened.connection, folder / DATABASE_NAME)
            except sqlite3.IntegrityError as error:
                raise StorageCorrupt(
                    f"data directory {directory}: its rows do not go together ({error}); restore a backup"
                ) from error
            reached("repair.file_written")
            with closing(sqlite3.connect(folder / DATABASE_NAME)) as fresh:
                fresh.backup(opened.connection)
            reached("repair.file_replaced")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_rows(old: sqlite3.Connection, file: Path) -> None:
    """Copy row by row: VACUUM would copy the pages of indexes unchanged."""
    kinds = ("table", "index")
    tables, indexes = (
        old.execute(f"SELECT name, sql FROM sqlite_master WHERE type = ? AND {_OURS}", [kind]).fetchall()
        for kind in kinds
    )
    (page_size,), (identity,) = (old.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "user_version"))
    with closing(sqlite3.connect(file, isolation_level=None)) as new:
        new.execute(f"PRAGMA page_size = {page_size}")
        for _, definition in tables:
            new.execute(definition)
        new.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        new.execute(f"PRAGMA user_version = {identity}")  # the identity that its log refers to
    old.execute("PRAGMA foreign_keys = OFF")
    old.execute("ATTACH ? AS fresh", [str(file)])
    old.execute("BEGIN IMMEDIATE")
    for name, _ in [*tables, ("sqlite_sequence", "")]:
        columns = ", ".join(f'"{row[1]}"' for row in old.execute(f'PRAGMA main.table_info("{name}")'))
        old.execute(f'DELETE FROM fresh."{name}"')
        old.execute(f'INSERT INTO fresh."{name}" ({columns}) SELECT {columns} FROM main."{name}" NOT INDEXED')
    old.execute("COMMIT")
    old.execute("DETACH fresh")
    with closing(sqlite3.connect(file)) as new:
        for _, definition in indexes:
            new.execute(definition)
