"""Lets a request to switch or roll back a reindex preempt the backfill.

One thread of one process at a time copies documents, under the lock REINDEX_LOCK. A process that copies one portion
after the other would nearly always take that lock again before anybody else tries. So a request first takes a second
lock, REINDEX_QUEUE, and the backfill yields while that one is held.
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

LOCK_SECONDS = 20.0  # a request waits this long; the backfill yields at its next check or call to a model
_LOOK_SECONDS = 0.05  # between checks for a request
_log = logging.getLogger(__name__)


@contextmanager
def preemptible(directory: Path) -> Iterator[Awaited]:
    """Hold the lock for copying a portion during the block. When the yielded answer is over, a request preempts it.

    Raises LockHeld if another thread or process is copying a portion, or a request waits.
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
    """Ensure that no portion is copied during the block, here or in another process; a preempted one is copied later.

    Raises StorageBusy, which names the process that does not yield, if that takes longer than LOCK_SECONDS or the
    request's remaining time, and Abandoned if nobody waits for the answer any more.
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
    """An answer that is over when a request preempts it.

    Errors of the check are logged, not raised: callers that wait at a model check each other's answers.
    """

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
