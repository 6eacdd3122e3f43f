"""Fail points: named steps of durable writes at which a test can stop the process."""

from __future__ import annotations

from collections.abc import Callable

observer: Callable[[str], None] | None = None  # called at every step; set only by tests


def reached(step: str) -> None:
    """Announce `step`, named "area.what was just done"."""
    if observer is not None:
        observer(step)
