"""The SQLite database file: opening it, its transactions, checkpoints and errors.

It runs in WAL mode with `synchronous=FULL`: a committed transaction survives a power cut. A reader sees one committed
state and never waits for a writer; writers take turns.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import filelock
import sqlalchemy as sa

from core.errors import SchemaTooNew, StorageBusy, StorageError
from store.directory import DATABASE_NAME, MAINTENANCE_LOCK, MIGRATE_LOCK, WRITE_QUEUE, prepare_directory
from store.failpoints import reached
from store.faults import database_errors, definition_errors, file_errors
from store.filesystem import check_local
from store.lock import held
from store.migrate import SCHEMA_VERSION, migrate
from store.opened import enter, leave

BUSY_TIMEOUT_MS = 10_000
CHECKPOINT_BYTES = 16 * 2**20  # size of the write-ahead log from which it is checkpointed
LOG_LIMIT_BYTES = 256 * 2**20  # size of the write-ahead log above which writers wait a little
LOG_WAIT_SECONDS = 2.0  # of one write, at most
_QUEUE_POLL_SECONDS = 0.001
_TRUNCATE_SECONDS = 0.2  # how long a checkpoint tries to find a gap between two commits
LONG_READ_SECONDS = 60.0  # a read transaction that takes longer is logged as a warning
_CHUNK = 5_000  # SQLite takes 32,766 variables in a statement
_CONNECTIONS_KEPT = 8  # idle connections that stay open
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class ReadSession:
    """One read transaction: every statement sees the same committed state."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows of an SQL string with its positional values, as store/prepared.py compiles them."""
        return _driver(self._connection).execute(sql, values).fetchall()

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
    """The one write transaction. It can read, too; others see its writes once it is committed."""


def chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """Lists of `values` that fit into the variables of one SQL statement."""
    iterator = iter(values)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


class Database:
    """The data directory's database. Thread-safe; any number of readers and one writer at a time."""

    def __init__(self, directory: Path, engine: sa.Engine, busy_timeout_ms: int) -> None:
        self.directory = directory
        self._engine = engine
        self._busy_timeout_ms = busy_timeout_ms
        self._registered = True

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        migration_backup: Path | None = None,
        allow_network: bool = False,
    ) -> Database:
        """Open the data directory; create it, or upgrade its tables, as needed.

        Before tables are upgraded, a backup is made: as `migration_backup`, or below `data_dir`/backups.
        `allow_network`: allow a network file system.

        Raises StorageError for a directory that holds other things or lies on a network file system, SchemaTooNew for
        one that a newer program wrote, DirectoryInUse where it must be upgraded while an older program has it open,
        StorageReadOnly, StorageFull, StorageBusy, StorageCorrupt where its definitions or its write-ahead log are
        damaged, Conflict where `migration_backup` exists.
        """
        with file_errors(data_dir), database_errors(data_dir), definition_errors(data_dir):
            if not allow_network:
                check_local(data_dir)
            enter(data_dir)
            try:
                path = prepare_directory(data_dir)
                engine = _engine(path, busy_timeout_ms)
            except BaseException:
                leave(data_dir)
                raise
            database = cls(data_dir, engine, busy_timeout_ms)
            try:
                # Two processes that start on an empty directory must not both create the tables.
                with filelock.FileLock(data_dir / MIGRATE_LOCK, timeout=busy_timeout_ms / 1000):
                    migrate(engine, data_dir, migration_backup)
            except BaseException:
                database.close()
                raise
        return database

    @contextmanager
    def read(self) -> Iterator[ReadSession]:
        """A read transaction. Keep it short: the write-ahead log cannot be checkpointed past what a reader sees.

        Raises StorageError, here and within the block: StorageCorrupt, StorageReadOnly, StorageBusy, and StorageFull,
        because readers need room for the log's index.
        """
        began = time.monotonic()
        try:
            with database_errors(self.directory, sound=self._has_our_tables), self._engine.connect() as connection:
                _driver(connection).execute("BEGIN")  # closing the connection ends it
                yield ReadSession(connection)
        finally:
            took = time.monotonic() - began
            if took > LONG_READ_SECONDS:
                _log.warning("a read transaction was open for %.0f s: the write-ahead log had to grow meanwhile", took)

    @contextmanager
    def write(self) -> Iterator[WriteSession]:
        """The write transaction: committed when the block ends, rolled back when it raises.

        Waits for other writers; raises StorageBusy when that takes too long. Also waits a little while the log is over
        its limit. Raises SchemaTooNew where a newer program has upgraded the tables since they were opened.
        """
        self._wait_for_log()
        with self._write(self._begun) as session:
            yield session
        if self.log_bytes() >= CHECKPOINT_BYTES:
            self._checkpoint_unless_owned()

    @contextmanager
    def writers_held(self) -> Iterator[Callable[[], AbstractContextManager[WriteSession]]]:
        """Keep all other writers out while the block runs; yields a function that begins a write transaction meanwhile.

        Keep the block short. Waits for writers that came before; raises StorageBusy when that takes too long.
        """

        def write() -> AbstractContextManager[WriteSession]:
            return self._write(_begun_immediately)

        with self._next_writer():
            with write():
                pass  # waits until a transaction that has already begun is over
            yield write

    @contextmanager
    def _write(self, begun: Callable[[sa.Connection], sa.Transaction]) -> Iterator[WriteSession]:
        with (
            database_errors(self.directory, sound=self._has_our_tables),
            self._engine.connect() as connection,
            begun(connection),
        ):
            self._check_schema(connection)
            reached("write.begun")
            yield WriteSession(connection)
            reached("write.complete")
        reached("write.committed")

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return (self.directory / f"{DATABASE_NAME}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as readers permit.

        Call it only while holding the maintenance lock: up to SQLite 3.51.2 two checkpoints at the same moment can
        corrupt the log. Raises StorageFull, StorageError.
        """
        with (
            database_errors(self.directory),
            self._engine.connect() as connection,
            closing(_driver(connection).cursor()) as cursor,
        ):
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                reached("checkpoint.begun")
                # PASSIVE copies while others write; TRUNCATE keeps them out, but then has little left to do. It is
                # retried so that it fits between the commits of a busy writer. It is not retried while readers need
                # much of the log: what is left stays there until the next checkpoint.
                _, logged, copied = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                reached("checkpoint.copied")
                until = time.monotonic() + (_TRUNCATE_SECONDS if copied * 2 >= logged else 0.0)
                while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] and time.monotonic() < until:
                    time.sleep(0.001)
                reached("checkpoint.done")
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")

    def vacuum(self) -> None:
        """Rewrite the whole file without its free pages. Readers go on; writers wait.

        Needs the size of the file once more in the log. Rebuilds the indexes from their tables, so check for damage
        first. Raises StorageBusy, StorageFull.
        """
        with (
            database_errors(self.directory),
            self._engine.connect() as connection,
            closing(_driver(connection).cursor()) as cursor,
        ):
            cursor.execute("VACUUM")
        reached("vacuum.done")

    def close(self) -> None:
        """Close every connection. The directory can be opened again."""
        self._engine.dispose()
        if self._registered:
            self._registered = False
            leave(self.directory)

    def _begun(self, connection: sa.Connection) -> sa.Transaction:
        """A write transaction, begun in turn, so that a busy writer queues behind those that already wait.

        SQLite alone polls for the end of another transaction at intervals of up to a tenth of a second, so a process
        that writes one transaction after the other would always get the next turn.
        """
        with self._next_writer():
            return _begun_immediately(connection)

    def _next_writer(self) -> AbstractContextManager[None]:
        return held(self.directory, WRITE_QUEUE, timeout=self._busy_timeout_ms / 1000, poll=_QUEUE_POLL_SECONDS)

    def _check_schema(self, connection: sa.Connection) -> None:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if version != SCHEMA_VERSION:
            raise SchemaTooNew(
                f"data directory {self.directory}: its tables were upgraded to schema {version} while this process had "
                f"it open, which speaks {SCHEMA_VERSION}; nothing was written. Start the newer Salience in its place"
            )

    def _has_our_tables(self) -> bool:
        """False after an upgrade, and when the volume is gone: SQLite then creates an empty file in its place."""
        try:
            with self._engine.connect() as connection:
                self._check_schema(connection)
        except (SchemaTooNew, sa.exc.DatabaseError):
            return False
        return True

    def _wait_for_log(self) -> None:
        """Wait a little while the log is over its limit. The wait is bounded, as a reader may hold the log for long."""
        until = time.monotonic() + LOG_WAIT_SECONDS
        while self.log_bytes() >= LOG_LIMIT_BYTES and time.monotonic() < until:
            self._checkpoint_unless_owned()
            time.sleep(0.05)

    def _checkpoint_unless_owned(self) -> None:
        """Checkpoint if the maintenance lock is free; otherwise its holder, another thread or process, will do it."""
        lock = filelock.FileLock(self.directory / MAINTENANCE_LOCK, timeout=0)
        try:
            with file_errors(self.directory), lock:
                self.checkpoint()
        except StorageBusy:
            return
        except StorageError as error:
            # The transaction is committed all the same; its pages stay in the log until the next checkpoint.
            _log.warning("checkpoint failed: %s", error)


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    return driver


def _begun_immediately(connection: sa.Connection) -> sa.Transaction:
    return connection.execution_options(salience_begin="BEGIN IMMEDIATE").begin()


def _engine(path: Path, busy_timeout_ms: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.QueuePool,
        # As many connections as threads ask for at once, but few stay open: each holds up to 2 MiB of pages.
        pool_size=_CONNECTIONS_KEPT,
        max_overflow=-1,
        pool_use_lifo=True,
        # The driver's own transaction mode loses updates silently; we begin every transaction ourselves.
        connect_args={"isolation_level": None, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        pragmas = (
            f"busy_timeout = {busy_timeout_ms}",
            "page_size = 8192",
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {4 * CHECKPOINT_BYTES}",  # a log that grew larger is truncated when it restarts
            "foreign_keys = ON",
        )
        try:
            with closing(connection.cursor()) as cursor:
                for pragma in pragmas:
                    cursor.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()  # the pool does not own it yet, and open deleted files keep their disk space
            raise

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if not _driver(connection).in_transaction:  # `Database.read` has already begun it
            connection.exec_driver_sql(connection.get_execution_options().get("salience_begin", "BEGIN"))

    return engine
