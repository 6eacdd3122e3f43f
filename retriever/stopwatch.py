"""How long the stages of a search take, and whether its time is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    timeout_ms: int | None = None  # None: there is no hurry
    milliseconds: dict[str, float] = field(default_factory=dict)  # by stage
    begun: float = field(default_factory=time.perf_counter)  # seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done in the `with`; a stage that comes again is counted together."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (time.perf_counter() - start) * 1000

    def without_hurry(self) -> Stopwatch:
        """One that times the same stages, and is never late."""
        return Stopwatch(milliseconds=self.milliseconds)

    @property
    def seconds_left(self) -> float | None:
        """0 or more; None: any number."""
        if self.timeout_ms is None:
            return None
        return max(0.0, self.timeout_ms / 1000 - (time.perf_counter() - self.begun))

    @property
    def late(self) -> bool:
        return self.seconds_left == 0.0
