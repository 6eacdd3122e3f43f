"""Runs a function in a background thread for the duration of a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(
    work: Callable[[threading.Event], None], *, name: str, stop_seconds: float | None = None
) -> Iterator[None]:
    """Run `work` in a daemon thread called `name` during the block. It must return soon after its event is set.

    The event is set at the end of the block, which then waits for the thread, for at most `stop_seconds` (None: without
    a limit). A thread that takes longer goes on in the background, and ends with the process.
    """
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(stop_seconds)
