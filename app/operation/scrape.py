"""The content of /metrics: the metrics of the processes, of the data directory, and the readiness checks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.operation.gauges import Gauges
from app.operation.metrics import OTHER, Metrics
from app.operation.readiness import Readiness
from app.wiring import Wiring
from core.errors import StorageError
from core.naming import HIDDEN
from core.records import JobState
from store.catalog import stored_names
from store.figures import CollectionFigures, Figures, figures
from store.views import Held

KEPT_SECONDS = 5.0  # for which figures of the database are reused
_SHARE = 20  # reading them takes at most 1/20 of the time: counting many rows is slow

_BY_COLLECTION = (
    ("passages", "Passages that are searched"),
    ("segments", "Sealed segments"),
    ("tombstones", "Passages in segments that are gone"),
    ("unsealed", "Passages that are in no segment yet, nor brought to Milvus"),
    ("elsewhere", "Passages that Milvus holds"),
    ("seq", "The newest change"),
)


class Scrape:
    """Renders all metrics. Thread-safe; scrapes run one at a time."""

    def __init__(self, parts: Wiring, metrics: Metrics, gauges: Gauges, readiness: Readiness) -> None:
        self._gauges = gauges
        self._registry = CollectorRegistry()
        self._registry.register(_Processes(parts, metrics))
        self._registry.register(_Data(parts))
        self._registry.register(_Checks(readiness))
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        with self._lock:
            self._gauges.take()
            return generate_latest(self._registry)


class _Processes(Collector):
    """The metrics of the processes that serve, without the series of deleted collections."""

    def __init__(self, parts: Wiring, metrics: Metrics) -> None:
        self._parts = parts
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()  # called on registration: nothing is known yet

    def collect(self) -> Iterable[Metric]:
        # Both are read before the names: else a collection created in between would be taken for a deleted one.
        searched, families = self._metrics.searched_collections(), self._metrics.together()
        try:
            with self._parts.database.read() as session:
                there = {OTHER, *stored_names(session)}
        except StorageError:
            return families
        self._metrics.forget(name for name in searched if name.removesuffix(HIDDEN) not in there)
        for family in families:
            family.samples = [
                one for one in family.samples if one.labels.get("collection", OTHER).removesuffix(HIDDEN) in there
            ]
        return families


class _Checks(Collector):
    """What /readyz says about the process that answers the scrape."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def describe(self) -> Iterable[Metric]:
        return ()  # called on registration: nothing is known yet

    def collect(self) -> Iterable[Metric]:
        found = self._readiness.findings()
        yield _gauge("ready", "1: /readyz says so", int(all(one.ok or not one.needed for one in found)))
        failed = GaugeMetricFamily("salience_check_failed", "1: a problem of /readyz", labels=["check"])
        for one in found:
            failed.add_metric([one.name], int(not one.ok))
        yield failed


class _Data(Collector):
    """The metrics of the data directory: the same in every process, except how far its snapshots are behind."""

    def __init__(self, parts: Wiring) -> None:
        self._parts = parts
        self._most = parts.settings.metrics.collections
        self._figures: Figures | None = None
        self._held: list[Held] = []
        self._again_at = 0.0  # by time.monotonic

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # called on registration, when nothing can be read yet

    def collect(self) -> Iterable[GaugeMetricFamily]:
        readable = self._renew()
        yield _gauge("database_readable", "1: the figures below are of now; 0: they are old", int(readable))
        if self._figures is None:
            return
        found = self._figures
        yield _gauge("wal_bytes", "Size of the write-ahead log", found.wal_bytes)
        yield _gauge("database_bytes", "Size of the database file", found.database_bytes)
        yield _gauge("disk_free_bytes", "Room on the disk of the data", found.free_bytes)
        yield _gauge("last_backup_timestamp_seconds", "When a backup was made last; 0: never", found.backup_at)
        yield _gauge("job_documents_waiting", "Documents that wait in jobs", found.waiting_documents)
        yield _gauge(
            "job_unserved_seconds", "Without a worker, of the job that has waited longest", found.unserved_seconds
        )
        jobs = GaugeMetricFamily("salience_jobs", "Jobs by their state", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], found.jobs.get(state.value, 0))
        yield jobs
        yield from self._by_collection(found.collections)

    def _by_collection(self, collections: tuple[CollectionFigures, ...]) -> Iterable[GaugeMetricFamily]:
        shown = [one.name for one in collections[: self._most]]
        for name, text in _BY_COLLECTION:
            family = GaugeMetricFamily(f"salience_collection_{name}", text, labels=["collection"])
            totals: dict[str, int] = {}
            for one in collections:
                label = one.name if one.name in shown else OTHER
                totals[label] = totals.get(label, 0) + int(getattr(one, name))
            for label, total in totals.items():
                family.add_metric([label], total)
            yield family
        behind: dict[str, int] = {}
        for held in self._held:
            label = held.collection if held.collection in shown else OTHER
            behind[label] = max(behind.get(label, 0), held.behind)
        family = GaugeMetricFamily(
            "salience_collection_behind", "Changes that the next search has yet to read", labels=["collection"]
        )
        for label, changes in behind.items():
            family.add_metric([label], changes)
        yield family

    def _renew(self) -> bool:
        """Read the figures again if it is time to; returns False if that failed and they are old."""
        begun = time.monotonic()
        if begun < self._again_at and self._figures is not None:
            return True
        try:
            self._figures, self._held = figures(self._parts.database), self._parts.views.held()
        except StorageError:
            return False
        took = time.monotonic() - begun
        self._again_at = time.monotonic() + max(KEPT_SECONDS, took * _SHARE)
        return True


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"salience_{name}", text, value=value)
