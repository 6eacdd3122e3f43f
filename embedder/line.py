"""Callers in line for a network that serves one at a time, each with a batch of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.current import current_answer, current_priority
from core.errors import Abandoned
from core.protocols import BatchObserver, Priority, RanBatch
from embedder.place import Place, Standing


class Line:
    """The line in front of one model, whose turns embedder.place gives. Thread-safe; not reentrant."""

    def __init__(self, place: Place | None = None) -> None:
        """`place`: where other models compute, too; None: it is alone."""
        self._place = Place() if place is None else place
        self._observer: BatchObserver | None = None
        self.staying = self._place.staying

    def observe(self, observer: BatchObserver) -> None:
        self._observer = observer

    def waiting(self) -> dict[Priority, int]:
        return self._place.waiting(self)

    def room(self, budget: int, priority: Priority) -> int:
        """As Place.room, for the caller's own batch."""
        return self._place.room(budget, current_priority(priority))

    @contextmanager
    def turn(self, priority: Priority, *, texts: int, tokens: int) -> Iterator[None]:
        """Waits for its turn; the next one begins when the block ends. `texts`, `tokens`: what the block computes.

        Raises Abandoned where nobody waits for the caller's own answer any more when its turn comes, or before.
        """
        own = Standing(line=self, priority=priority, answer=current_answer())
        with self._place.standing(own):
            with self._place.lock:
                self._place.wait(own)
                if own.is_abandoned:
                    raise Abandoned
                self._place.begin(own)
            begun = time.perf_counter()
            yield
            seconds = time.perf_counter() - begun
        if self._observer is not None:
            self._observer(RanBatch(priority=own.priority, texts=texts, tokens=tokens, seconds=seconds))
