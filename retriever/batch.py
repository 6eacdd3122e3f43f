"""Several queries at once: each has its own answer or its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import SalienceError, StorageError

_A = TypeVar("_A")
_B = TypeVar("_B")


def each(work: Callable[[_A], _B], items: Sequence[_A | SalienceError]) -> list[_B | SalienceError]:
    """`work` on each item, in order; an error among them stays, and so does one that is raised.

    Raises StorageError: that concerns all of them.
    """
    return [item if isinstance(item, SalienceError) else _attempt(work, item) for item in items]


def at_once(
    work: Callable[[Sequence[_A]], Sequence[_B]], items: Sequence[_A | SalienceError]
) -> list[_B | SalienceError]:
    """`work` on all items together, as `each`; where that fails, on each alone, to find whose fault it is."""
    good = [item for item in items if not isinstance(item, SalienceError)]
    try:
        done = iter(work(good) if good else ())
    except StorageError:
        raise
    except SalienceError:
        return each(lambda item: work([item])[0], items)
    return [item if isinstance(item, SalienceError) else next(done) for item in items]


def _attempt(work: Callable[[_A], _B], item: _A) -> _B | SalienceError:
    try:
        return work(item)
    except StorageError:
        raise
    except SalienceError as error:
        return error
