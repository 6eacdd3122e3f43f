"""The queue of a model that runs one caller's batch at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.context import current_answer, current_priority
from core.errors import Abandoned
from core.protocols import Priority, RanBatch
from embedder.scheduling import Queue, Waiter


class ModelQueue(Queue):
    """Callers of one model, served in the order that embedder.scheduling gives. Thread-safe; not reentrant."""

    def room(self, budget: int, priority: Priority) -> int:
        """As Scheduler.room, for the caller's own batch."""
        return self._scheduler.room(budget, current_priority(priority))

    @contextmanager
    def turn(self, priority: Priority, *, texts: int, tokens: int) -> Iterator[None]:
        """Waits for its turn; the next one begins when the block ends. `texts`, `tokens`: what the block computes.

        Raises Abandoned where nobody waits for the caller's own answer any more when its turn comes, or before.
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
