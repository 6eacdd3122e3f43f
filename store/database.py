"""The database file: opening it, its transactions, and what its errors mean.

SQLite in WAL mode with `synchronous=FULL`: what was committed survives a power cut. A reader sees one committed state
and never waits for a writer; writers come one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import filelock
import sqlalchemy as sa

from core.errors import StorageBusy, StorageError
from store.directory import DATABASE_NAME, MIGRATE_LOCK, prepare_directory
from store.faults import database_errors, file_errors
from store.migrate import migrate

BUSY_TIMEOUT_MS = 10_000
CHECKPOINT_BYTES = 16 * 2**20  # size of the write-ahead log from which it is folded into the database
_CHUNK = 5_000  # SQLite takes 32,766 variables in a statement
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class ReadSession:
    """One read transaction: every statement sees the same committed state."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def execute(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    def rows_where_in(
        self, statement: sa.Select[Any], column: sa.ColumnElement[Any], values: Iterable[Any]
    ) -> Iterator[sa.Row[Any]]:
        """The rows of `statement` with `column` in `values`, however many values there are."""
        for chunk in chunks(values):
            yield from self.execute(statement.where(column.in_(chunk)))


class WriteSession(ReadSession):
    """The one write transaction. It reads, too; what it writes is seen by others once it is committed."""


def chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """Lists of `values` that fit into the variables of one SQL statement."""
    iterator = iter(values)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


class Database:
    """The data directory's database. Thread-safe; any number of readers beside one writer."""

    def __init__(self, directory: Path, engine: sa.Engine, busy_timeout_ms: int) -> None:
        self.directory = directory
        self._engine = engine
        self._busy_timeout_ms = busy_timeout_ms

    @classmethod
    def open(
        cls, data_dir: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, migration_backup: Path | None = None
    ) -> Database:
        """Open the data directory, creating it and bringing its tables up to date as needed.

        Before tables are upgraded, a backup is made: as `migration_backup`, or below `data_dir`/backups.

        Raises StorageError for a directory that holds other things, SchemaTooNew for one that a newer program wrote,
        StorageReadOnly, StorageFull, StorageBusy, StorageCorrupt, Conflict where `migration_backup` is there already.
        """
        with file_errors(data_dir), database_errors(data_dir):
            path = prepare_directory(data_dir)
            engine = _engine(path, busy_timeout_ms)
            try:
                # Two processes that start on an empty directory must not both create the tables.
                with filelock.FileLock(data_dir / MIGRATE_LOCK, timeout=busy_timeout_ms / 1000):
                    migrate(engine, data_dir, migration_backup)
            except BaseException:
                engine.dispose()
                raise
        return cls(data_dir, engine, busy_timeout_ms)

    @contextmanager
    def read(self) -> Iterator[ReadSession]:
        """A read transaction. Keep it short: the write-ahead log cannot be folded in behind a reader's back."""
        with database_errors(self.directory), self._engine.connect() as connection, connection.begin():
            yield ReadSession(connection)

    @contextmanager
    def write(self) -> Iterator[WriteSession]:
        """The write transaction: committed when the block ends, rolled back when it raises.

        Waits for another writer; raises StorageBusy when that takes too long.
        """
        with (
            database_errors(self.directory),
            self._engine.connect() as connection,
            connection.execution_options(salience_begin="BEGIN IMMEDIATE").begin(),
        ):
            yield WriteSession(connection)
        self._checkpoint()

    def close(self) -> None:
        """Close every connection. The database can be opened again."""
        self._engine.dispose()

    def _checkpoint(self) -> None:
        """Fold a large write-ahead log into the database.

        Up to SQLite 3.51.2 two checkpoints at the same moment can corrupt the log: SQLite's own are off, and these
        hold a lock across threads and processes. Whoever finds it taken leaves the work to its holder.
        """
        log = self.directory / f"{DATABASE_NAME}-wal"
        if not log.exists() or log.stat().st_size < CHECKPOINT_BYTES:
            return
        lock = filelock.FileLock(self.directory / "checkpoint.lock", timeout=0)
        try:
            with file_errors(self.directory), database_errors(self.directory), lock:
                self._truncate_log()
        except StorageBusy:
            return
        except StorageError as error:
            # The transaction is committed all the same; its pages wait in the log for the next checkpoint.
            _log.warning("checkpoint failed: %s", error)

    def _truncate_log(self) -> None:
        with self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            # No waiting for readers: what they still need stays in the log until the next time.
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")


def _engine(path: Path, busy_timeout_ms: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.QueuePool,
        pool_size=0,  # as many connections as threads ask for at once
        # The driver's own transaction mode loses updates silently; we begin every transaction ourselves.
        connect_args={"isolation_level": None, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {busy_timeout_ms}",
            "page_size = 8192",
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("salience_begin", "BEGIN"))

    return engine
