"""Runs a function on several queries, so that each gets its own result or its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from core.errors import SalienceError, StorageError

_A = TypeVar("_A")
_B = TypeVar("_B")


def each(work: Callable[[_A], _B], items: Sequence[_A | SalienceError]) -> list[_B | SalienceError]:
    """Call `work` on each item, in order. Items that are errors are kept; a SalienceError of `work` becomes the result.

    Raises StorageError, as that concerns all items.
    """
    return [item if isinstance(item, SalienceError) else _attempt(work, item) for item in items]


def at_once(
    work: Callable[[Sequence[_A]], Sequence[_B]], items: Sequence[_A | SalienceError]
) -> list[_B | SalienceError]:
    """Like `each`, but call `work` once for all items. If that fails, call it for each alone to find the cause."""
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
