"""Calls a function at regular intervals in a background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from core.background import in_background


def periodically(
    do: Callable[[], None], *, seconds: float, name: str, stop_seconds: float | None = None
) -> AbstractContextManager[None]:
    """While the block runs, a thread named `name` calls `do` every `seconds`; no call starts after the block's end.

    `stop_seconds`: how long the end of the block waits for a call in progress; None: as long as it takes.
    """

    def run(over: threading.Event) -> None:
        while not over.wait(seconds):
            do()

    return in_background(run, name=name, stop_seconds=stop_seconds)
