"""The backfill, one thread of one process at a time, is preempted by whoever asks for a switch or a rollback.

Without a line in front of the lock, a process that brings over one portion after the other would nearly always have it
again before anybody else looks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.context import Awaited, check_awaited, current_answer
from core.errors import LockHeld, StorageBusy, StorageError
from store.directory import REINDEX_LOCK, REINDEX_QUEUE
from store.lock import held, is_held, sign, signed_by

LOCK_SECONDS = 20.0  # for which whoever asks waits: the others give way at their next look, or call to a model
_LOOK_SECONDS = 0.05  # between looks whether somebody asks
_log = logging.getLogger(__name__)


@contextmanager
def preemptible(directory: Path) -> Iterator[Awaited]:
    """Within the block a portion is brought over; it ends early where the yielded answer is over: somebody preempts it.

    Raises LockHeld where another thread or process is at a portion, or preempts.
    """
    if is_held(directory, REINDEX_QUEUE):
        raise LockHeld
    with ExitStack() as stack:
        try:
            stack.enter_context(_signed(directory, REINDEX_LOCK, 0.0))
        except StorageBusy as error:
            raise LockHeld from error
        yield _Portion(directory)


@contextmanager
def preempting(directory: Path) -> Iterator[None]:
    """Within the block nobody is at a portion, here or in another process; the one at hand is brought over later.

    Raises StorageBusy that names who does not give way, Abandoned where nobody waits for the answer any more.
    """
    answer = current_answer()
    remaining = None if answer is None else answer.remaining
    until = time.monotonic() + (LOCK_SECONDS if remaining is None else min(LOCK_SECONDS, remaining))
    with ExitStack() as stack:
        for name in (REINDEX_QUEUE, REINDEX_LOCK):
            try:
                stack.enter_context(_signed(directory, name, max(0.0, until - time.monotonic())))
            except StorageBusy:
                raise StorageBusy(
                    f"process {signed_by(directory, name) or '(unknown)'} is at a reindex and does not give way; "
                    "nothing was switched. Try again; if it stands still, let it go on (kill -CONT), or end it: what "
                    "it has brought over is kept"
                ) from None
        check_awaited()
        yield


@contextmanager
def _signed(directory: Path, name: str, seconds: float) -> Iterator[None]:
    with held(directory, name, timeout=seconds, poll=0.01):
        sign(directory, name)
        yield


class _Portion(Awaited):
    """Over when somebody asks. What looking may fail with is logged: those in line at a model look for each other."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._look_at = 0.0  # by time.monotonic

    @property
    def over(self) -> bool:
        if not self._given_up and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            try:
                self._given_up = is_held(self._directory, REINDEX_QUEUE)
            except StorageError as error:
                _log.warning("whether anybody asks for a switch is unknown, the reindex goes on: %s", error.message)
        return self._given_up
