"""Something small that is done again and again beside the work at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def regularly(do: Callable[[], None], *, seconds: float, name: str) -> Iterator[None]:
    """While the block runs, a thread of this name calls `do` every so many seconds, and not once more behind it."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
