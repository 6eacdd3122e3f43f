"""Background maintenance of a data directory: one process owns it, and checkpoints, seals, merges and cleans up.

Any number of processes may offer to do this. The kernel gives the lock to one of them, and to the next one when that
one ends, however it ends.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import filelock

from core.background import in_background
from core.backoff import doubled
from core.errors import IndexUnavailable, LockHeld, StorageError
from store.database import CHECKPOINT_BYTES, LOG_LIMIT_BYTES, Database
from store.directory import MAINTENANCE_LOCK
from store.failpoints import reached
from store.faults import file_errors
from store.indexreplication import Replication
from store.leftovers import remove_leftovers
from store.lock import is_held, sign, signed_by
from store.passageindex.protocol import PassageIndex
from store.processes import processes
from store.reindex.dropping import drop_deleted_piece
from store.segments.upkeep import Seen, maintain

LOOK_SECONDS = 0.02  # longer than `maintained_by` holds the lock while checking it
STOP_SECONDS = 10.0  # for the current step; what it left unfinished is found and removed later
_log = logging.getLogger(__name__)

Work = Callable[[Database], bool]  # does the next piece of work that is due; whether there was any


@contextmanager
def owning(directory: Path) -> Iterator[None]:
    """Own the maintenance of `directory` while the block runs. Raises LockHeld where another process or thread does.

    Retries after LOOK_SECONDS, in case `maintained_by` was checking the lock just then.
    """
    lock = filelock.FileLock(directory / MAINTENANCE_LOCK, timeout=LOOK_SECONDS, poll_interval=LOOK_SECONDS)
    with file_errors(directory):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise LockHeld(
                f"data directory {directory}: maintained by process {owner(directory) or '(unknown)'} now"
            ) from None
    try:
        sign(directory, MAINTENANCE_LOCK)
        reached("maintenance.owned")
        yield
    finally:
        lock.release()


def owner(directory: Path) -> str | None:
    """Who maintains the directory, or did last, such as "4711 on host"."""
    return signed_by(directory, MAINTENANCE_LOCK)


def maintained_by(directory: Path) -> str | None:
    """Who maintains the directory now, in the format of `owner`; None: nobody."""
    if not is_held(directory, MAINTENANCE_LOCK):
        return None
    return owner(directory) or "(unknown)"


def maintain_once(database: Database, work: Work = maintain, *, index: PassageIndex | None = None) -> None:
    """Do all maintenance that is due now, unless another process owns it. Failures are logged; the work stays due.

    `work` and `index`: as for Maintenance.
    """
    Maintenance(database, work, MaintenancePolicy(warn_seconds=math.inf), index=index).once()


@dataclass(frozen=True, kw_only=True, slots=True)
class MaintenancePolicy:
    """How often maintenance does what. Times in seconds."""

    poll_seconds: float = 0.25  # between checks, when nothing was due
    takeover_seconds: float = 0.5  # between attempts to become the owner
    clean_seconds: float = 600.0  # between checks for leftovers
    warn_seconds: float = 60.0  # how long readers may hold a large log before a warning, and between two warnings


@dataclass(frozen=True, kw_only=True, slots=True)
class Failing:
    """A kind of work that has failed at every attempt for some time."""

    chore: str
    seconds: float  # since the first of those failures
    reason: str


class Maintenance:
    """Maintains a data directory for as long as this process lives and is its owner. Thread-safe."""

    def __init__(
        self,
        database: Database,
        work: Work | None = None,
        policy: MaintenancePolicy | None = None,
        *,
        index: PassageIndex | None = None,
    ) -> None:
        """`work`: maintains the segments; None: store.segments.upkeep.maintain. `index`: the engine to which
        collections of the index kind milvus are replicated.
        """
        segments = work or partial(maintain, seen=Seen())
        self._database = database
        self._policy = policy or MaintenancePolicy()
        self._stopping = threading.Event()
        # Checkpoints have their own thread: a merge may take minutes, and the log would grow until writers must wait.
        self._checkpoints = _Chore("checkpoint", _Checkpoints(database, self._policy.warn_seconds).fold)
        self._chores = [
            _Chore("segments", partial(segments, database)),
            _Chore("leftovers", self._clean),
            _Chore("deleted collections", partial(drop_deleted_piece, database)),
        ]
        if index is not None:
            self._chores.append(_Chore("passage index", partial(Replication(index).follow, database)))
        self._next_clean = 0.0
        self.owns = False

    @property
    def chores(self) -> tuple[str, ...]:
        """The kinds of work, by name."""
        return tuple(chore.name for chore in (self._checkpoints, *self._chores))

    @property
    def failing(self) -> list[Failing]:
        """What this process fails to do as the owner. Meanwhile the directory works on, but gets worse by the hour."""
        if not self.owns:
            return []
        return [found for chore in (self._checkpoints, *self._chores) if (found := chore.failing) is not None]

    def run(self) -> None:
        """Maintain until `stop` is called; the current step is finished first."""
        failures = 0
        while not self._stopping.is_set():
            pause = self._policy.takeover_seconds
            try:
                with owning(self._database.directory):
                    self.owns = True
                    self._own()
            except LockHeld:
                failures = 0
            except StorageError as error:  # even taking the lock failed
                failures += 1
                pause = doubled(failures)
                _log.warning("maintenance: next try in %.0f s: %s", pause, error.message)
            finally:
                self.owns = False
            self._stopping.wait(pause)

    def once(self) -> None:
        """Do all that is due now, one chore after the other, unless another process owns it. Failures are logged."""
        try:
            with owning(self._database.directory):
                self._checkpoints.finish()
                with self._folding():
                    for chore in self._chores:
                        chore.finish()
        except LockHeld:
            return
        except StorageError as error:  # even taking the lock failed
            _log.warning("maintenance: %s", error.message)

    def stop(self) -> None:
        self._stopping.set()

    @contextmanager
    def running(self) -> Iterator[Maintenance]:
        """Run in a thread while the block runs. Waits for it at the end, STOP_SECONDS at most."""
        thread = threading.Thread(target=self.run, name="maintenance", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join(STOP_SECONDS)

    def _own(self) -> None:
        with self._folding():
            _again_and_again(self._chores, self._policy.poll_seconds, self._stopping)

    def _folding(self) -> AbstractContextManager[None]:
        return in_background(
            partial(_again_and_again, [self._checkpoints], self._policy.poll_seconds), name="checkpoints"
        )

    def _clean(self) -> bool:
        if time.monotonic() >= self._next_clean:
            with file_errors(self._database.directory):
                remove_leftovers(self._database.directory)
            self._next_clean = time.monotonic() + self._policy.clean_seconds
        return False


class _Checkpoints:
    """Checkpoints the log when it is large enough. For one thread at a time."""

    def __init__(self, database: Database, warn_seconds: float) -> None:
        self._database = database
        self._warn_seconds = warn_seconds
        self._held_since: float | None = None  # time.monotonic since which readers have held a log over the limit

    def fold(self) -> bool:
        """Checkpoint if due. Always False: while readers hold the log, trying again at once does not help."""
        size = self._database.log_bytes()
        if size >= CHECKPOINT_BYTES:
            self._database.checkpoint()
            size = self._database.log_bytes()
        if size < LOG_LIMIT_BYTES:
            self._held_since = None
            return False
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since >= self._warn_seconds:
            self._held_since = None
            there = "; ".join(str(process) for process in processes(self._database.directory))
            _log.warning(
                "the write-ahead log has %.0f MiB and cannot be folded in: for %.0f s or more some process has kept a "
                "read transaction open, as a backup does. Long-lived processes: %s",
                size / 2**20,
                self._warn_seconds,
                there or "none",
            )
        return False


def _again_and_again(chores: Sequence[_Chore], pause_seconds: float, over: threading.Event) -> None:
    while not over.is_set():
        done = [chore.turn() for chore in chores]
        if not any(done):
            over.wait(pause_seconds)


class _Chore:
    """One kind of work. After a failure it pauses for a while, and the others go on."""

    def __init__(self, name: str, do: Callable[[], bool]) -> None:
        self.name = name
        self._do = do
        self._failures = 0
        self._failed: tuple[float, str] | None = None  # time.monotonic of the first failure, reason of the last one
        self._next = 0.0  # time.monotonic of the next attempt

    @property
    def failing(self) -> Failing | None:
        failed = self._failed
        if failed is None:
            return None
        return Failing(chore=self.name, seconds=time.monotonic() - failed[0], reason=failed[1])

    def finish(self) -> None:
        """Do all of it that is due now. Failures are logged, so that the other chores go on."""
        try:
            while self._do():
                pass
        except (StorageError, IndexUnavailable) as error:
            _log.warning("maintenance: %s", error.message)

    def turn(self) -> bool:
        if time.monotonic() < self._next:
            return False
        try:
            done = self._do()
        except Exception as error:  # noqa: BLE001 - logged; maintenance must not end by one thing that fails
            self._failures += 1
            pause = doubled(self._failures)
            self._next = time.monotonic() + pause
            expected = isinstance(error, (StorageError, IndexUnavailable))
            reason = str(error) if expected else type(error).__name__
            self._failed = (time.monotonic() if self._failed is None else self._failed[0], reason)
            _log.warning(
                "maintenance: %s failed, next try in %.0f s: %s",
                self.name,
                pause,
                reason,
                exc_info=not expected,
            )
            return False
        self._failures, self._failed = 0, None
        return done
