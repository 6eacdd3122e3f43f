"""Time and chance that tests hold in their hands."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from random import Random

from embedder.remote.transport import Environment

START = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000)

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        with self._lock:
            self.slept.append(round(seconds, 6))
            self.seconds += seconds


class Longest(Random):
    """Chance that always takes the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def environment(time: FakeTime) -> Environment:
    return Environment(clock=time.clock, now=time.now, sleep=time.sleep, random=Longest())
