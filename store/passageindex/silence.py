"""Whether an engine answers anybody: while it does not, callers do not all wait for it, one place each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import IndexUnavailable


class Silence:
    """Falls when a caller waited in vain, and nobody else was answered meanwhile; any answer ends it. Thread-safe."""

    def __init__(self, message: str) -> None:
        """`message`: of the error for those who do not wait."""
        self._message = message
        self._fallen = False
        self._heard = 0.0  # by time.monotonic: the last answer
        self._listening = threading.Lock()

    @contextmanager
    def broken(self) -> Iterator[None]:
        """For one question: where there is silence, one caller at a time asks. Raises IndexUnavailable at once."""
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
        """There was an answer."""
        self._heard = time.monotonic()
        self._fallen = False

    def unheard(self, since: float) -> None:
        """A caller has waited since then, as long as an answer may take."""
        self._fallen = self._fallen or self._heard < since
