"""A circuit breaker for an engine that does not answer: callers fail at once instead of all waiting for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import IndexUnavailable


class Silence:
    """Opens when a caller waited in vain and nobody got an answer meanwhile; any answer closes it. Thread-safe."""

    def __init__(self, message: str) -> None:
        """`message`: of the error for callers that fail at once."""
        self._message = message
        self._fallen = False  # whether the breaker is open
        self._heard = 0.0  # time.monotonic of the last answer
        self._listening = threading.Lock()

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Wrap one request. While open, one caller at a time may try; others get IndexUnavailable at once."""
        if not self._fallen:
            yield
            return
        if not self._listening.acquire(blocking=False):
            raise IndexUnavailable(self._message)
        try:
            yield
        finally:
            self._listening.release()

    def heard(self) -> None:
        """Record an answer."""
        self._heard = time.monotonic()
        self._fallen = False

    def unheard(self, since: float) -> None:
        """Record that a caller has waited since `since` (time.monotonic) for as long as an answer may take."""
        self._fallen = self._fallen or self._heard < since
