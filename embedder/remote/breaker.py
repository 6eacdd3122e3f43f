"""A circuit breaker: a remote that keeps failing gets no requests for a while, and callers get an error at once.

closed --(FAILURES in a row)--> open --(OPEN_SECONDS)--> half open --(the trial request succeeds)--> closed
                                 ^---------------(it fails)---'
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

from core.errors import RemoteUnavailable

FAILURES = 10  # in a row; more than the tries of one request, whose last try may well succeed
OPEN_SECONDS = 15.0


class BreakerState(StrEnum):
    """Closed: requests pass; open: they are refused; half open: a single trial request passes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class CircuitBreaker:
    """The breaker of one remote. Thread-safe.

    Each `enter` that returns must be followed by exactly one of succeeded, failed and released.
    """

    def __init__(
        self, name: str, *, clock: Callable[[], float], failures: int = FAILURES, open_seconds: float = OPEN_SECONDS
    ) -> None:
        """`name`: the remote's name in messages. `clock`: a monotonic clock, in seconds."""
        self._name = name
        self._clock = clock
        self._allowed_failures = failures
        self._open_seconds = open_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._reason = ""  # of the latest failure
        self._opened_at: float | None = None
        self._on_trial = False

    @property
    def state(self) -> BreakerState:
        with self._lock:
            return self._state()

    def enter(self) -> None:
        """Asks to send a request. Raises RemoteUnavailable while open, or while a trial request is under way."""
        with self._lock:
            state = self._state()
            if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and self._on_trial):
                raise RemoteUnavailable(
                    f"{self._name} failed {self._failures} times in a row, the last time it {self._reason}; it is left "
                    f"alone for a while, try again in {self._seconds_left():.0f} s",
                    retry_after=self._seconds_left(),
                )
            self._on_trial = state is BreakerState.HALF_OPEN

    def succeeded(self) -> None:
        """Records that the remote answered, even if with an error that is not its own fault."""
        with self._lock:
            self._failures, self._opened_at, self._on_trial = 0, None, False

    def failed(self, reason: str) -> None:
        """Records that the remote did not answer, or answered with a fault of its own."""
        with self._lock:
            self._failures += 1
            self._reason = reason
            if self._on_trial or (self._opened_at is None and self._failures >= self._allowed_failures):
                self._opened_at = self._clock()
            self._on_trial = False

    def released(self) -> None:
        """Records that the request gave no evidence about the remote, for example because it was not sent."""
        with self._lock:
            self._on_trial = False

    def _state(self) -> BreakerState:
        if self._opened_at is None:
            return BreakerState.CLOSED
        waited = self._clock() - self._opened_at >= self._open_seconds
        return BreakerState.HALF_OPEN if waited else BreakerState.OPEN

    def _seconds_left(self) -> float:
        """Seconds until the next trial, at least 1: a trial under way is over soon, one way or the other."""
        return max(1.0, (self._opened_at or 0.0) + self._open_seconds - self._clock())
