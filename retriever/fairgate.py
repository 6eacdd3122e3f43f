"""A gate for threads that mostly run Python: they go through it in turns, as together they get less done than one.

A search gives the interpreter's lock up and takes it back some hundred times: at each SQLite step, regular expression
and larger call of numpy. With eight searches at once each of these hands the lock to another thread, and the kernel's
part of it costs more than the search. See docs/decisions/0030-searches-take-turns.md.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.025  # after which the next one is let in beside it
GATHERING_SECONDS = 0.1  # after which nobody waits for those who came later
UNHURRIED_SECONDS = 1.0  # that a request must have left to wait for the queue


class FairGate:
    """First come, first served. Thread-safe, and no lock: nothing may rely on being alone.

    Who takes longer than PATIENCE_SECONDS, at a disk or a large index, holds nobody up for longer than that: the next
    one begins beside it. So at least forty a second begin, however long each of them takes.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._queue: deque[_Turn] = deque()
        self._free_from = float("-inf")  # by time.monotonic: when whoever came last has had it for long enough
        self._newest: _Turn | None = None  # who was let in last, while inside

    @contextmanager
    def entered(self) -> Iterator[None]:
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
        """Returns when those queued now have been let in: for work that prepares a turn, as that comes no sooner.

        Whoever asks a model only then asks it together with all who have waited here, for little more than one pays.
        Those who are queued meanwhile are waited for as well, but no more after GATHERING_SECONDS.
        """
        until = time.monotonic() + GATHERING_SECONDS
        passed = self._behind_queue()
        while passed is not None:
            passed.acquire()
            passed = self._behind_queue() if time.monotonic() < until else None

    def _behind_queue(self) -> threading.Lock | None:
        """Can be acquired when all who are queued now have been let in; None: nobody is."""
        with self._changing:
            if not self._queue:
                return None
            passed = _closed()
            self._queue[-1].behind.append(passed)
            return passed

    def _admit(self) -> None:
        """Lets the first of the queue in, where nobody is inside, or the newest has been for long enough."""
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
        self.behind: list[threading.Lock] = []  # of those who wait until it is no longer queued

    def tell(self) -> None:
        for passed in self.behind:
            passed.release()


def _closed() -> threading.Lock:
    """A lock that the next one to acquire it waits at."""
    lock = threading.Lock()
    lock.acquire()
    return lock
