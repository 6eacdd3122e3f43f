"""A backbone that notes what it computes, and callers that wait in line for it."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType

import numpy as np
import pytest
from torch import Tensor

from core.protocols import Priority
from core.records import Float32Array, Int64Array
from embedder.backbone import Backbone, KeyFactors
from embedder.microbatching import MicroBatcher
from tests import waiting as waits

BROKEN = 39  # a token on which the recording backbone fails
LONGEST = 120.0  # seconds that no test comes near
until = partial(waits.until, seconds=LONGEST)


class Recording:
    """A real backbone that notes which texts it computes together, and can be held up before a forward pass."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.width = backbone.width
        self.device = backbone.device
        self.precision = backbone.precision
        self.keeps_slots = backbone.keeps_slots
        self.attention_problem = backbone.attention_problem
        self.batches: list[list[list[int]]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.open.set()

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        self.batches.append([text.tolist() for text in ids])
        self.entered.release()
        assert self.open.wait(LONGEST)
        if any(BROKEN in text for text in ids):
            raise RuntimeError("a token that breaks the model")
        return self._backbone.hidden(ids, factors)

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        return self._backbone.layers(ids, factors)

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        return self._backbone.word_vectors(ids)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Within the block no forward pass gets on."""
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()


class Interruption:
    """As Ctrl-C in the main thread, once."""

    def __init__(self) -> None:
        self._over = False

    def arrives(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise KeyboardInterrupt

    @contextmanager
    def felt(self) -> Iterator[None]:
        """By the block, and by nothing behind it."""
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            self._over = True

    def send(self) -> None:
        """Until it is felt: one that comes in the moment before a thread sleeps at a lock does not wake it."""
        ident = threading.main_thread().ident
        assert ident is not None
        while not self._over:
            signal.pthread_kill(ident, signal.SIGINT)
            time.sleep(0.01)


def in_line(
    turns: MicroBatcher, callers: ThreadPoolExecutor, requests: Sequence[tuple[Int64Array, Priority]]
) -> list[Future[Tensor]]:
    """One caller for each request, in this order."""
    found = []
    for ids, priority in requests:
        before = waiting(turns)
        found.append(callers.submit(turns.hidden, [ids], None, priority))
        until(lambda before=before: waiting(turns) == before + 1)  # type: ignore[misc]
    return found


def waiting(turns: MicroBatcher) -> int:
    return sum(turns.waiting().values())


def text(*ids: int) -> Int64Array:
    return np.array([2, *ids, 3], dtype=np.int64)
