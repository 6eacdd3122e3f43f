"""Updates the gauges of a process: on each scrape, and regularly where another process may answer the scrape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from app.operation.lanes import Lane
from app.operation.metrics import Metrics
from app.periodic import periodically
from app.wiring import Wiring

EVERY_SECONDS = 5.0


class Gauges:
    """Reads the current state of one process into its metrics: lanes, models, maintenance, connections, caches."""

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
        maintenance = self._parts.maintenance
        self._metrics.maintenance(maintenance.chores, {one.chore: one.seconds for one in maintenance.failing})
        self._metrics.process(connections=self._connections(), cache_bytes=self._parts.searcher.kept_bytes)

    def taken_regularly(self) -> AbstractContextManager[None]:
        """Update every EVERY_SECONDS while the block runs: needed if another process may answer a scrape."""
        return periodically(self.take, seconds=EVERY_SECONDS, name="gauges")
