"""A small task that a background thread repeats."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from core.background import in_background


def periodically(
    do: Callable[[], None], *, seconds: float, name: str, stop_seconds: float | None = None
) -> AbstractContextManager[None]:
    """While the block runs, a thread of this name calls `do` every so many seconds, and not once more behind it.

    `stop_seconds`: for which the end of the block waits for a call at hand; None: as long as it takes.
    """

    def run(over: threading.Event) -> None:
        while not over.wait(seconds):
            do()

    return in_background(run, name=name, stop_seconds=stop_seconds)
