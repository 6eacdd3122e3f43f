"""How long a sender is waited for: one that stops, and one that never stops but hardly sends anything."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST_BYTES = 2**10  # a second, that a sender sends, beyond the first seconds of waiting for it


@dataclass(kw_only=True, slots=True)
class Pace:
    """Of one body. Times in seconds, of waiting for the sender alone."""

    idle_seconds: float  # that it may send nothing
    slow_seconds: float  # for which it is waited for in all, and one more for each SLOWEST_BYTES that came
    received: int = 0  # bytes
    waited: float = 0.0

    def left(self) -> float:
        """How long to wait now: `idle_seconds`, or less where it was too slow before; then it may be none, or below."""
        return min(self.idle_seconds, self.slow_seconds + self.received / SLOWEST_BYTES - self.waited)

    def took(self, seconds: float, size: int) -> None:
        """So many bytes came after so long."""
        self.waited += seconds
        self.received += size
