"""Times the stages of a search, and tells when its timeout has passed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from core.context import check_awaited


class Span(NamedTuple):
    """When a stage ran. Times are in seconds, from time.perf_counter."""

    stage: str
    begun: float
    ended: float


@dataclass(slots=True)
class Stopwatch:
    timeout_ms: int | None = None  # None: no timeout
    milliseconds: dict[str, float] = field(default_factory=dict)  # by stage
    spans: list[Span] = field(default_factory=list)  # in the order in which they ended
    begun: float = field(default_factory=time.perf_counter)  # seconds

    def stage(self, name: str) -> Stage:
        """A context manager that times a stage; repeated stages are added up.

        Entering it raises Abandoned if nobody waits for the answer any more.
        """
        return Stage(self, name)

    def add(self, name: str, begun: float, ended: float) -> None:
        """Record a stage that ran from `begun` to `ended`, in seconds of time.perf_counter."""
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (ended - begun) * 1000
        self.spans.append(Span(name, begun, ended))

    def without_hurry(self) -> Stopwatch:
        """A stopwatch that records into the same stages, but has no timeout."""
        return Stopwatch(milliseconds=self.milliseconds, spans=self.spans)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the timeout, 0 or more; None: there is no timeout."""
        if self.timeout_ms is None:
            return None
        return max(0.0, self.timeout_ms / 1000 - (time.perf_counter() - self.begun))

    @property
    def late(self) -> bool:
        return self.seconds_left == 0.0


class Stage:
    """The context manager of Stopwatch.stage."""

    __slots__ = ("_begun", "_name", "_watch")

    def __init__(self, watch: Stopwatch, name: str) -> None:
        self._watch, self._name, self._begun = watch, name, 0.0

    def __enter__(self) -> None:
        check_awaited()
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._watch.add(self._name, self._begun, time.perf_counter())
