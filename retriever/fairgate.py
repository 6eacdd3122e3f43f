"""A fair gate for threads that mostly run Python: it admits them one by one, as together they get less done than one.

A search releases and reacquires the global interpreter lock (GIL) some hundred times: at each SQLite step, regular
expression and larger call of numpy. With eight searches at once, each release hands the lock to another thread, and
the kernel's part of that costs more than the search. See docs/decisions/0030-searches-take-turns.md.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.025  # after which the next thread is admitted, too
GATHERING_SECONDS = 0.1  # after which `wait_for_queue` ignores newcomers
UNHURRIED_SECONDS = 1.0  # a request must have more time left than this, to wait for the queue


class FairGate:
    """Admits threads one by one, first come, first served. Thread-safe.

    It is not a lock: nothing may rely on being alone inside. A thread that takes longer than PATIENCE_SECONDS, for a
    slow disk or a large index, delays the next one by no more than that: both are then inside. So at least forty
    threads a second are admitted, however long each takes.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._queue: deque[_Turn] = deque()
        self._free_from = float("-inf")  # by time.monotonic: when the next may enter beside the newest
        self._newest: _Turn | None = None  # the thread admitted last, while it is inside

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Wait to be admitted, and be inside during the block."""
        turn = _Turn()
        with self._changing:
            self._queue.append(turn)
            self._admit()
        try:
            while not turn.begun.acquire(timeout=PATIENCE_SECONDS):
                with self._changing:
                    self._admit()
            yield
        finally:
            with self._changing:
                if self._newest is turn:
                    self._newest = None
                elif turn in self._queue:  # interrupted while it waited
                    self._queue.remove(turn)
                    turn.tell()
                self._admit()

    def wait_for_queue(self) -> None:
        """Wait until all threads queued now have been admitted. For work before `entered`, such as encoding a query.

        That work is not needed any sooner. The threads that wait here then call the model together, in one batch that
        costs little more than one query. Threads that are queued meanwhile are waited for, too, but no further ones
        after GATHERING_SECONDS.
        """
        until = time.monotonic() + GATHERING_SECONDS
        passed = self._behind_queue()
        while passed is not None:
            passed.acquire()
            passed = self._behind_queue() if time.monotonic() < until else None

    def _behind_queue(self) -> threading.Lock | None:
        """A lock that is released when all threads queued now have been admitted; None if none is queued."""
        with self._changing:
            if not self._queue:
                return None
            passed = _closed()
            self._queue[-1].behind.append(passed)
            return passed

    def _admit(self) -> None:
        """Admit the first of the queue if the newest has left, or has been inside for PATIENCE_SECONDS."""
        now = time.monotonic()
        if self._queue and (self._newest is None or now >= self._free_from):
            self._newest = self._queue.popleft()
            self._free_from = now + PATIENCE_SECONDS
            self._newest.begun.release()
            self._newest.tell()


class _Turn:
    __slots__ = ("begun", "behind")

    def __init__(self) -> None:
        self.begun = _closed()
        self.behind: list[threading.Lock] = []  # released when it is no longer queued

    def tell(self) -> None:
        for passed in self.behind:
            passed.release()


def _closed() -> threading.Lock:
    """A new lock that is already acquired."""
    lock = threading.Lock()
    lock.acquire()
    return lock
