"""Who has the floor: threads that mostly run Python take turns, as together they get less done than one.

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

PATIENCE_SECONDS = 0.025  # after which whoever has the floor shares it
GATHERING_SECONDS = 0.1  # after which nobody waits for a further line
UNHURRIED_SECONDS = 1.0  # that whoever waits for the line has left at least


class Floor:
    """First come, first served. Thread-safe, and no lock: nothing may rely on being alone.

    Who takes longer than PATIENCE_SECONDS, at a disk or a large index, holds nobody up for longer than that: the next
    one begins beside it. So at least forty a second begin, however long each of them takes.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._line: deque[_Turn] = deque()
        self._free_from = float("-inf")  # by time.monotonic: when whoever came last has had it for long enough
        self._newest: _Turn | None = None  # who came last, while on the floor

    @contextmanager
    def taken(self) -> Iterator[None]:
        turn = _Turn()
        with self._changing:
            self._line.append(turn)
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
                elif turn in self._line:  # interrupted while it waited
                    self._line.remove(turn)
                    turn.tell()
                self._admit()

    def wait_for_line(self) -> None:
        """Returns when those in line have begun: for what is prepared for a turn, as that comes no sooner.

        Whoever asks a model only then asks it together with all who have waited here, for little more than one pays.
        Where others have come into line meanwhile, they are waited for as well, but no more after GATHERING_SECONDS.
        """
        until = time.monotonic() + GATHERING_SECONDS
        passed = self._behind_line()
        while passed is not None:
            passed.acquire()
            passed = self._behind_line() if time.monotonic() < until else None

    def _behind_line(self) -> threading.Lock | None:
        """Can be acquired when all who are in line now have begun; None: nobody is."""
        with self._changing:
            if not self._line:
                return None
            passed = _closed()
            self._line[-1].behind.append(passed)
            return passed

    def _admit(self) -> None:
        """The first in line, where the floor is free, or was taken long ago."""
        now = time.monotonic()
        if self._line and (self._newest is None or now >= self._free_from):
            self._newest = self._line.popleft()
            self._free_from = now + PATIENCE_SECONDS
            self._newest.begun.release()
            self._newest.tell()


class _Turn:
    __slots__ = ("begun", "behind")

    def __init__(self) -> None:
        self.begun = _closed()
        self.behind: list[threading.Lock] = []  # of those who wait until it is no more in line

    def tell(self) -> None:
        for passed in self.behind:
            passed.release()


def _closed() -> threading.Lock:
    """A lock that the next one to acquire it waits at."""
    lock = threading.Lock()
    lock.acquire()
    return lock
