"""What a process is like at this moment: taken when it is asked for, and now and then where others are asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from app.operation.lanes import Lane
from app.operation.metrics import Metrics
from app.wiring import Wiring

EVERY_SECONDS = 5.0


class Gauges:
    """Of one process."""

    def __init__(
        self, parts: Wiring, metrics: Metrics, lanes: Mapping[str, Lane], connections: Callable[[], int]
    ) -> None:
        self._parts = parts
        self._metrics = metrics
        self._lanes = lanes
        self._connections = connections

    def take(self) -> None:
        for name, lane in self._lanes.items():
            self._metrics.lane(name, running=lane.running, waiting=lane.waiting)
        for model, line in self._parts.models.waiting():
            for priority, count in line.items():
                self._metrics.encoder(model, priority, count)
        self._metrics.process(connections=self._connections(), trace_cache_bytes=self._parts.searcher.trace_bytes)

    @contextmanager
    def taken_regularly(self) -> Iterator[None]:
        """For a process whose figures another one shows."""
        over = threading.Event()

        def take_again() -> None:
            while not over.wait(EVERY_SECONDS):
                self.take()

        thread = threading.Thread(target=take_again, name="gauges", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
