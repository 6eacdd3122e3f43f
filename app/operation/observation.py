"""Records every completed search in the metrics, in its trace, and, if it was slow, in the log."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from app.operation.metrics import Metrics
from app.operation.slow import shape_of
from app.operation.tracing import Tracing
from core.context import current_answer
from core.errors import SalienceError
from retriever.result import SearchResult

WAITING = "waiting"  # a stage in addition to the searcher's own: the time that a request spends outside of them
_log = structlog.get_logger("salience.search")


class Observation:
    """Records searches. Thread-safe."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None, *, slow_ms: int) -> None:
        """`slow_ms`: searches that take at least this long are slow; 0: none is."""
        self._metrics = metrics
        self._tracing = tracing
        self._slow_ms = slow_ms

    def searched(self, result: SearchResult) -> SearchResult:
        """Record the only search of a request, and return its result. It took as long as the whole request so far."""
        answer = current_answer()
        waited = 0.0 if answer is None else (time.monotonic() - answer.began) * 1000
        staged = sum(result.stages_ms.values())
        self._note(result, {**result.stages_ms, WAITING: max(0.0, waited - staged)})
        return result

    def all_searched(self, results: list[SearchResult | SalienceError]) -> list[SearchResult | SalienceError]:
        """Record the searches of a batch, and return them. Each took the time of its own stages: they wait together."""
        for result in results:
            if not isinstance(result, SalienceError):
                self._note(result, result.stages_ms)
        return results

    def _note(self, result: SearchResult, stages_ms: Mapping[str, float]) -> None:
        self._metrics.searched(result, stages_ms)
        if self._tracing is not None:
            self._tracing.searched(result)
        took = sum(stages_ms.values())
        if self._slow_ms and took >= self._slow_ms:
            self._metrics.slow(result.collection)
            _log.warning("slow search", took_ms=round(took, 1), **shape_of(result, stages_ms))
