"""A queue for models that run each caller's batch separately, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.context import current_answer, current_priority
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from embedder.scheduling import Queue, Waiter


class ModelQueue(Queue):
    """The callers of one model, served in the order of embedder.scheduling. Thread-safe; not reentrant."""

    def room(self, budget: int, priority: Priority) -> int:
        """The most tokens that the caller's next batch may have; see Scheduler.room."""
        return self._scheduler.room(budget, current_priority(priority))

    @contextmanager
    def turn(self, priority: Priority, *, texts: int, tokens: int) -> Iterator[None]:
        """Wait for the caller's turn, which lasts until the end of the block.

        `texts`, `tokens`: numbers of what the block computes, for the observer. Raises Abandoned if nobody waits for
        the caller's answer any more when its turn comes, or before.
        """
        own = Waiter(queue=self, priority=priority, answer=current_answer())
        with self._scheduler.queued(own):
            with self._scheduler.lock:
                self._scheduler.wait(own)
                if own.is_abandoned:
                    raise Abandoned
                self._scheduler.begin(own)
            begun = time.perf_counter()
            yield
            seconds = time.perf_counter() - begun
        self._ran(RanBatch(priority=own.priority, texts=texts, tokens=tokens, seconds=seconds))
