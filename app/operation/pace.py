"""Timeouts for receiving a request body from a sender that stalls, or that keeps sending too slowly."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST_BYTES = 2**10  # least bytes per second, after an initial allowance of waiting


@dataclass(kw_only=True, slots=True)
class Pace:
    """The pace of one body. All times are in seconds, and count only waiting for the sender."""

    idle_seconds: float  # longest pause without any byte
    slow_seconds: float  # longest wait in total, plus one second for each SLOWEST_BYTES received
    received: int = 0  # bytes
    waited: float = 0.0  # in total

    def left(self) -> float:
        """Return how long to wait now: `idle_seconds`, or less for a slow sender; 0 or negative: no longer."""
        return min(self.idle_seconds, self.slow_seconds + self.received / SLOWEST_BYTES - self.waited)

    def took(self, seconds: float, size: int) -> None:
        """Record that `size` bytes arrived after waiting for `seconds`."""
        self.waited += seconds
        self.received += size
