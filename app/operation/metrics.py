"""The Prometheus metrics of a process. docs/operate.md documents their names, labels and meaning.

The number of label values is bounded: routes by their template, error codes, stages, and the names of as many
collections as the settings allow; further collections are counted together. Nothing else that a user wrote becomes a
label. Deleted collections make room for others. Where several processes serve, the files that they share keep every
series: series of deleted collections are left out of a scrape, and a process creates series for a bounded number of
collections during its lifetime.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from app.operation.process import METRICS_VARIABLE, open_files, resident_bytes
from core.naming import HIDDEN, base_name
from core.protocols import Priority, RanBatch
from retriever.result import SearchResult

OTHER = "other"
_SHARED = 2  # with shared files, series exist for at most this many times the labelled collections: scrapes read all
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_REQUEST_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# No second series for each counter and histogram with its creation time: nobody needs it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here


class Metrics:
    """Records the metrics of one process, and shows those of all processes that serve together. Thread-safe."""

    def __init__(self, *, collections: int) -> None:
        """`collections`: how many may have labels of their own."""
        self.registry = CollectorRegistry()
        self._names: set[str] = set()
        self._kept: set[str] = set()  # names with series: `_names`, and with shared files also deleted collections
        self._most_names = collections
        self._most_kept = collections * _SHARED
        self._lock = threading.Lock()
        given = self.registry
        self._requests = Counter(
            "salience_requests", "Requests answered", ["method", "route", "status"], registry=given
        )
        self._request_seconds = Histogram(
            "salience_request_seconds", "From a request's head to the end of its answer", ["route"],
            buckets=_REQUEST_SECONDS, registry=given,
        )  # fmt: skip
        self._errors = Counter("salience_errors", "Requests that were answered by an error", ["code"], registry=given)
        self._refused = Counter(
            "salience_requests_refused", "Requests that found no place: full, late, gone", ["lane", "reason"],
            registry=given,
        )  # fmt: skip
        # Cached: the library looks a series up under a lock, which costs more than counting. Their number is bounded.
        self._requests_of = cache(self._requests.labels)
        self._request_seconds_of = cache(self._request_seconds.labels)
        self._errors_of = cache(self._errors.labels)
        self._refused_of = cache(self._refused.labels)
        self._stages = Histogram(
            "salience_search_stage_seconds", "Stages of a search; a leg is the stage of its name",
            ["collection", "stage"], buckets=_STAGE_SECONDS, registry=given,
        )  # fmt: skip
        self._searches = Counter(
            "salience_searches", "Searches answered; partial: something was left out for lack of time",
            ["collection", "outcome"], registry=given,
        )  # fmt: skip
        self._hits = Counter("salience_search_hits", "Hits that searches answered", ["collection"], registry=given)
        self._slow = Counter("salience_slow_searches", "Searches that were slow", ["collection"], registry=given)
        self._batch_texts = Histogram(
            "salience_encoder_batch_texts", "Texts that one forward pass computed", ["model", "priority"],
            buckets=_TEXTS, registry=given,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "salience_encoder_batch_seconds", "Seconds of one forward pass", ["model", "priority"],
            buckets=_STAGE_SECONDS, registry=given,
        )  # fmt: skip
        self._batch_tokens = Counter(
            "salience_encoder_tokens", "Tokens that were computed", ["model", "priority"], registry=given
        )
        self._gauges = {
            name: Gauge(f"salience_{name}", text, labels, registry=given, multiprocess_mode="livesum")
            for name, text, labels in (
                ("requests_in_progress", "Requests that are served now", ["lane"]),
                ("requests_waiting", "Requests that wait for a place", ["lane"]),
                ("connections", "Connections that are open", []),
                ("encoder_waiting", "Callers in line for a forward pass", ["model", "priority"]),
                ("cache_bytes", "Memory of what models made lately", ["kind"]),
                ("maintenance_failing_seconds", "For how long a chore has failed here; 0: it works", ["chore"]),
                ("process_resident_bytes", "Memory that the processes hold", []),
                ("process_open_files", "File descriptors that the processes hold", []),
            )
        }
        info = Gauge(
            "salience_info", "1, labelled by the version", ["version"], registry=given, multiprocess_mode="livemax"
        )
        info.labels(version("salience")).set(1)

    def answered(self, *, method: str, route: str | None, status: int, seconds: float, code: str | None) -> None:
        """Count an answered request and its time in seconds; `code`: that of its error, if any."""
        path = route or OTHER
        self._requests_of(method if method in _METHODS else OTHER, path, str(status)).inc()
        self._request_seconds_of(path).observe(seconds)
        if code is not None:
            self._errors_of(code).inc()

    def refused(self, lane: str, reason: str) -> None:
        self._refused_of(lane, reason).inc()

    def searched(self, result: SearchResult, stages_ms: Mapping[str, float]) -> None:
        with self._lock:  # else a series that was just forgotten might be created again
            name = self._label(result.collection)
            for stage, milliseconds in stages_ms.items():
                self._stages.labels(name, stage).observe(milliseconds / 1000)
            self._searches.labels(name, "partial" if result.timed_out else "complete").inc()
            self._hits.labels(name).inc(len(result.hits))

    def slow(self, collection: str) -> None:
        with self._lock:
            self._slow.labels(self._label(collection)).inc()

    def searched_collections(self) -> set[str]:
        """Return the collections with labels of their own; all hidden generations of a collection share one name."""
        with self._lock:
            return set(self._names)

    def forget(self, collections: Iterable[str]) -> None:
        """Make room by forgetting deleted collections, given by their names in `searched_collections`."""
        with self._lock:
            for name in collections:
                self._names.discard(name)
                if self.shared:
                    continue
                self._kept.discard(name)
                for metric in (self._stages, self._searches, self._hits, self._slow):
                    metric.remove_by_labels({"collection": name})

    def ran(self, model: str, batch: RanBatch) -> None:
        labels = (model, batch.priority.name.lower())
        self._batch_texts.labels(*labels).observe(batch.texts)
        self._batch_seconds.labels(*labels).observe(batch.seconds)
        self._batch_tokens.labels(*labels).inc(batch.tokens)

    def lane(self, name: str, *, running: int, waiting: int) -> None:
        self._gauges["requests_in_progress"].labels(name).set(running)
        self._gauges["requests_waiting"].labels(name).set(waiting)

    def encoder(self, model: str, priority: Priority, waiting: int) -> None:
        self._gauges["encoder_waiting"].labels(model, priority.name.lower()).set(waiting)

    def maintenance(self, chores: Iterable[str], failing: Mapping[str, float]) -> None:
        """Set for how many seconds each chore has been failing, given the failing ones by name; 0 for the others."""
        for chore in chores:
            self._gauges["maintenance_failing_seconds"].labels(chore).set(failing.get(chore, 0.0))

    def process(self, *, connections: int, cache_bytes: Mapping[str, int]) -> None:
        """Set this process's current figures; `cache_bytes` is by kind of cache."""
        self._gauges["connections"].set(connections)
        for kind, count in cache_bytes.items():
            self._gauges["cache_bytes"].labels(kind).set(count)
        self._gauges["process_resident_bytes"].set(resident_bytes())
        self._gauges["process_open_files"].set(open_files())

    @property
    def shared(self) -> bool:
        """Whether several processes serve together, any of which may answer a scrape."""
        return METRICS_VARIABLE in os.environ

    def together(self) -> list[Metric]:
        """Return the metrics to show: where several processes serve, those of all of them."""
        if not self.shared:
            return list(self.registry.collect())
        # The library has no types here.
        return list(MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call]

    def _label(self, collection: str) -> str:
        """Return the label of a collection. The caller holds the lock."""
        # Every reindex has a hidden generation of its own; those of one collection are counted together.
        base = base_name(collection)
        name = collection if base == collection else f"{base}{HIDDEN}"
        if len(self._names) < self._most_names and (name in self._kept or len(self._kept) < self._most_kept):
            self._names.add(name)
            self._kept.add(name)
        return name if name in self._names else OTHER


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
