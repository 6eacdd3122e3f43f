"""Fail points: named steps of durable work, so that a test can stop a process exactly there."""

from __future__ import annotations

from collections.abc import Callable

observer: Callable[[str], None] | None = None  # called at every step; set by tests alone


def reached(step: str) -> None:
    """Announce `step`, named "area.what was just done"."""
    if observer is not None:
        observer(step)
