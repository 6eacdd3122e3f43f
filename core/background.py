"""Work in a background thread for as long as a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(
    work: Callable[[threading.Event], None], *, name: str, stop_seconds: float | None = None
) -> Iterator[None]:
    """While the block runs, a thread of this name does `work`, which returns soon after its event is set.

    The event is set at the end of the block, which then waits for the thread: `stop_seconds` at most, None as long as
    it takes. What is at it for longer goes on alone, and ends with the process.
    """
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(stop_seconds)
