"""How the time that work takes grows with its size, on a machine that does other things at the same time."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TRIES = 3  # at each size, of which the shortest counts: other work only adds
ROUNDS = 4  # of tries, before it is said that it grows too much
NOTICED = 2.5  # times in proportion: above what noise does to the shortest of several tries
Prepare = Callable[[int], Callable[[], object]]


def assert_linear(prepare: Prepare, small: int, large: int) -> None:
    """The work that `prepare` makes for a size takes time in proportion to it, or less."""
    assert_growth(prepare, small, large, most=NOTICED * large / small)


def assert_growth(prepare: Prepare, small: int, large: int, *, most: float) -> None:
    """The work takes at most `most` times as long at the large size as at the small one.

    Counted is the processor's time of this thread, so that neither other processes nor other threads count. What the
    work gives is not looked at: what is to hold of it is asserted in the work itself, or elsewhere.
    """
    work = {size: prepare(size) for size in (small, large)}
    least = dict.fromkeys(work, math.inf)
    for _ in range(ROUNDS):
        with _undisturbed():
            for size, do in TRIES * list(work.items()):
                began = time.thread_time()
                do()
                least[size] = min(least[size], time.thread_time() - began)
        if least[large] <= most * least[small]:
            return
    grown = least[large] / least[small]
    raise AssertionError(f"{large} takes {grown:.1f} times as long as {small}, {least[large]:.4f} s: at most {most:g}")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """By the garbage collector, which would look through all that other tests have left in the process."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
