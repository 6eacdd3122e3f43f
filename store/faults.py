"""Translate errors of SQLite and of the file system into StorageErrors that tell the user what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import sqlalchemy as sa

from core.errors import StorageBusy, StorageCorrupt, StorageError, StorageFull, StorageReadOnly

_FULL = "no room to write: the disk, the quota or the file size limit is used up; nothing of this write was kept"
_READ_ONLY = (
    "cannot be written to; check the permissions of the directory and its files, and how the disk is mounted. "
    "Searching takes locks in it, too: a directory that must stay as it is can be searched in a copy (salience restore)"
)
_BUSY = "another process holds the lock; try again when its write is done"
_RESTORE = "restore the directory from a backup"
_CORRUPT = f"salience.db is damaged or no database; {_RESTORE}"

_SQLITE_CODES: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_IOERR_WRITE: (StorageFull, _FULL),  # a full quota or a file size limit; a full disk is SQLITE_FULL
    sqlite3.SQLITE_IOERR_SHMOPEN: (StorageFull, _FULL),  # no room for the log's index, which readers need, too
    sqlite3.SQLITE_IOERR_SHMSIZE: (StorageFull, _FULL),
    sqlite3.SQLITE_FULL: (StorageFull, _FULL),
    sqlite3.SQLITE_READONLY: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_PERM: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_BUSY: (StorageBusy, _BUSY),
    sqlite3.SQLITE_LOCKED: (StorageBusy, _BUSY),
    sqlite3.SQLITE_CORRUPT: (StorageCorrupt, _CORRUPT),
    sqlite3.SQLITE_NOTADB: (StorageCorrupt, _CORRUPT),
}
_MISTAKES = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISUSE)
_OS_CODES: dict[int | None, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageFull, _FULL),
    errno.EDQUOT: (StorageFull, _FULL),
    errno.EFBIG: (StorageFull, _FULL),
    errno.EACCES: (StorageReadOnly, _READ_ONLY),
    errno.EPERM: (StorageReadOnly, _READ_ONLY),
    errno.EROFS: (StorageReadOnly, _READ_ONLY),
}


@contextmanager
def database_errors(
    directory: Path, noun: str = "data directory", *, sound: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Turn SQLite's errors into a StorageError that says what to do. Programming errors are raised unchanged.

    `sound` checks that the tables are ours. If so, a statement that SQLite cannot run is a programming error.
    Otherwise, or without `sound`, the file is not what the statement expects.
    """
    try:
        yield
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, sa.exc.DatabaseError) else error
        code = getattr(cause, "sqlite_errorcode", 0)
        if isinstance(cause, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        if code & 0xFF in _MISTAKES and sound is not None and sound():
            raise
        kind, meaning = _SQLITE_CODES.get(code) or _SQLITE_CODES.get(code & 0xFF) or (StorageError, "cannot be used")
        raise kind(f"{noun} {directory}: {meaning} ({cause})") from error


@contextmanager
def file_errors(directory: Path, noun: str = "data directory") -> Iterator[None]:
    """The same for errors of the file system. Wrap only code that touches files, not a caller's block."""
    try:
        yield
    except filelock.Timeout as error:
        raise StorageBusy(f"{noun} {directory}: {_BUSY}") from error
    except OSError as error:
        kind, meaning = _OS_CODES.get(error.errno, (StorageError, "cannot be used"))
        raise kind(f"{noun} {directory}: {meaning} ({error.strerror})") from error


@contextmanager
def definition_errors(directory: Path) -> Iterator[None]:
    """Raise StorageCorrupt for the errors that damaged table definitions cause. Only for opening a database.

    SQLite quotes damaged definitions in messages that the driver cannot decode, and damaged names make later look-ups
    fail.
    """
    try:
        yield
    except (UnicodeDecodeError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sa.exc.InvalidRequestError) as error:
        raise StorageCorrupt(f"data directory {directory}: its tables' definitions are damaged; {_RESTORE}") from error
