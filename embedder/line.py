"""Callers in line for a network that serves one at a time, as each forward pass uses every core."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from core.protocols import Priority


class Line:
    """The most urgent priority has the next turn, and within it who came first. Thread-safe; not reentrant."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Priority, int]] = []  # in the order in which they are served
        self._arrivals = count()
        self._is_busy = False
        self._changed = threading.Condition()  # guards all of the above

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """Waits for its turn; the next one begins when the block ends."""
        with self._changed:
            place = (priority, next(self._arrivals))
            insort(self._waiting, place)
            try:
                self._changed.wait_for(lambda: not self._is_busy and self._waiting[0] == place)
                self._is_busy = True
            finally:  # also when the caller is interrupted: others must not wait behind it
                self._waiting.remove(place)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
