"""What is noted of a search that was answered: in the metrics, in a trace, and in the log where it was slow."""

from __future__ import annotations

import structlog

from app.operation.metrics import Metrics
from app.operation.slow import shape_of
from app.operation.tracing import Tracing
from core.errors import SalienceError
from retriever.result import SearchResult

_log = structlog.get_logger("salience.search")


class Observation:
    """Thread-safe."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None, *, slow_ms: int) -> None:
        """`slow_ms`: from which a search is slow; 0: none is."""
        self._metrics = metrics
        self._tracing = tracing
        self._slow_ms = slow_ms

    def searched(self, result: SearchResult) -> SearchResult:
        """The result, once it is noted."""
        self._metrics.searched(result)
        if self._tracing is not None:
            self._tracing.searched(result)
        took = sum(result.stages_ms.values())
        if self._slow_ms and took >= self._slow_ms:
            self._metrics.slow(result.collection)
            _log.warning("slow search", took_ms=round(took, 1), **shape_of(result))
        return result

    def all_searched(self, results: list[SearchResult | SalienceError]) -> list[SearchResult | SalienceError]:
        return [result if isinstance(result, SalienceError) else self.searched(result) for result in results]
