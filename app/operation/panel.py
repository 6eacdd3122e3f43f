"""The operational parts of a server (metrics, tracing, readiness, lanes), built once with the application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

from app.api.uploads import UPLOADS_AT_ONCE
from app.operation.gauges import Gauges
from app.operation.lanes import Lane
from app.operation.metrics import Metrics
from app.operation.observation import Observation
from app.operation.readiness import Readiness
from app.operation.scrape import Scrape
from app.operation.tracing import start_tracing
from app.wiring import Wiring

NICE_AT_ONCE = 4  # ?nice=true requests that are served at once
PATIENT_SECONDS = 60.0  # least waiting time allowed for writes and ?nice=true requests


class Panel:
    """The operational parts of one application."""

    def __init__(self, parts: Wiring, connections: Callable[[], int]) -> None:
        """`connections`: returns how many are open. Raises InvalidSettings if the tracing libraries are missing."""
        settings, limits = parts.settings, parts.settings.limits
        self._parts = parts
        self.metrics = Metrics(collections=settings.metrics.collections)
        self.tracing = start_tracing(settings.tracing, version("salience"))
        self.observation = Observation(self.metrics, self.tracing, slow_ms=settings.log.slow_query_ms)
        self.readiness = Readiness(parts)
        patience = max(limits.waiting_seconds, PATIENT_SECONDS)
        places = {
            "search": (limits.concurrent_requests, limits.waiting_seconds),
            "write": (UPLOADS_AT_ONCE, patience),
            "nice": (NICE_AT_ONCE, patience),
        }
        self.lanes = {
            name: Lane(
                name,
                at_once=at_once,
                waiting=limits.waiting_requests,
                seconds=seconds,
                refused=self.metrics.refused,
            )
            for name, (at_once, seconds) in places.items()
        }
        self._gauges = Gauges(parts, self.metrics, self.lanes, connections)
        self.scrape = Scrape(parts, self.metrics, self._gauges, self.readiness)

    @property
    def threads(self) -> int:
        """The most threads that requests with a place take."""
        return sum(lane.at_once for lane in self.lanes.values())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Observe models and update gauges while the block runs. The parts must have been built."""
        self._parts.models.observe(self.metrics.ran)
        try:
            if self.metrics.shared:
                with self._gauges.taken_regularly():
                    yield
            else:
                yield
        finally:
            if self.tracing is not None:
                self.tracing.close()
