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
                self._admit()

    def _admit(self) -> None:
        """The first in line, where the floor is free, or was taken long ago."""
        now = time.monotonic()
        if self._line and (self._newest is None or now >= self._free_from):
            self._newest = self._line.popleft()
            self._free_from = now + PATIENCE_SECONDS
            self._newest.begun.release()


class _Turn:
    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = threading.Lock()
        self.begun.acquire()
