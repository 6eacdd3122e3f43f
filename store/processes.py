"""Registry of the long-lived processes that have the data directory open; it refuses incompatible versions.

Each process holds a lock on its own file in `processes/`, which says who it is. The kernel releases the lock when the
process ends, however it ends: a file whose lock nobody holds is a leftover, whatever process id it names.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

from core.errors import DirectoryInUse
from store.directory import PROCESSES, PROCESSES_LOCK
from store.failpoints import reached
from store.faults import file_errors

_LOCK_SECONDS = 10.0
_UNKNOWN: Mapping[str, Any] = {"pid": 0, "address": None}  # for fields missing from an entry; otherwise "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process that has the directory open."""

    kind: str  # the command: serve, worker
    pid: int  # on its host, or in its container
    host: str
    version: str  # of the program
    schema: str  # of the tables that it reads and writes
    started_at: str  # ISO 8601, UTC
    address: str | None = None  # where it listens

    @classmethod
    def this(cls, *, kind: str, version: str, schema: str, address: str | None = None) -> Self:
        """The current process."""
        return cls(
            kind=kind,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=version,
            schema=schema,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            address=address,
        )

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Parse the entry of another process, whose version may know more or fewer fields."""
        unknown = {one.name: _UNKNOWN.get(one.name, "unknown") for one in fields(cls)}
        return cls(**unknown | {name: value for name, value in entry.items() if name in unknown})

    def __str__(self) -> str:
        listens = f" at {self.address}" if self.address else ""
        return (
            f"salience {self.kind}{listens}, process {self.pid} on {self.host}, version {self.version}, "
            f"schema {self.schema}, since {self.started_at}"
        )

    def goes_with(self, other: Process) -> bool:
        """Whether both may write to one directory: same tables, and texts split and analysed in the same way.

        Models and other settings may differ, because collections name their own model. So may patch releases.
        """
        return self.schema == other.schema and _release(self.version) == _release(other.version)


class Registration:
    """This process's entry in the registry, until it is closed or the process ends."""

    def __init__(self, directory: Path, entry: Path, lock: filelock.BaseFileLock) -> None:
        self._directory = directory
        self._entry = entry
        self._lock = lock

    def close(self) -> None:
        if self._lock.is_locked:
            with file_errors(self._directory), _registry(self._directory):
                self._lock.release()
                _forget(self._entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def register(directory: Path, *, kind: str, version: str, schema: str, address: str | None = None) -> Registration:
    """Register this process. Raises DirectoryInUse where an incompatible one has the directory open; StorageError."""
    ours = Process.this(kind=kind, version=version, schema=schema, address=address)
    with file_errors(directory), _registry(directory):
        for other in _living(directory):
            if not ours.goes_with(other):
                raise DirectoryInUse(
                    f"data directory {directory}: in use by {other}. This is {ours}: the two do not go together, as "
                    "one would not understand what the other writes. Stop the other one, or start the same version"
                )
        entry = directory / PROCESSES / f"{kind}-{ours.pid}-{uuid.uuid4().hex[:8]}"
        lock = filelock.FileLock(_lock_of(entry), timeout=0, thread_local=False)
        lock.acquire()
        entry.write_text(json.dumps(asdict(ours)), "utf-8")
    reached("process.registered")
    return Registration(directory, entry, lock)


def processes(directory: Path) -> list[Process]:
    """The processes that have the directory open now, by start time. Removes leftover entries."""
    if not (directory / PROCESSES).is_dir():
        return []
    with file_errors(directory), _registry(directory):
        return sorted(_living(directory), key=lambda process: (process.started_at, process.pid))


def check_upgrade(directory: Path, schema: str) -> None:
    """Raises DirectoryInUse where a process with another schema than `schema` has the directory open."""
    for other in processes(directory):
        if other.schema != schema:
            raise DirectoryInUse(
                f"data directory {directory}: must be upgraded to schema {schema}, and it is in use by {other}. "
                "Stop that one first: it would not understand the new tables"
            )


def _registry(directory: Path) -> filelock.BaseFileLock:
    """The lock for writing and reading entries, so that an entry is never seen before its owner has locked it."""
    (directory / PROCESSES).mkdir(exist_ok=True)
    return filelock.FileLock(directory / PROCESSES_LOCK, timeout=_LOCK_SECONDS)


def _living(directory: Path) -> Iterator[Process]:
    for path in sorted((directory / PROCESSES).glob("*.lock")):
        entry = path.with_suffix("")
        lock = filelock.FileLock(path, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            yield Process.of(json.loads(entry.read_text("utf-8")))
        else:
            lock.release()
            _forget(entry)


def _forget(entry: Path) -> None:
    entry.unlink(missing_ok=True)
    _lock_of(entry).unlink(missing_ok=True)


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.lock")


def _release(version: str) -> list[str]:
    """ "0.2" of "0.2.7": patch releases do not change stored data silently."""
    return version.split(".")[:2]
