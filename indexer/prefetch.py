"""Prefetches the items of an iterator: a thread computes the next one while the current one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")


@contextmanager
def prefetched(items: Iterator[_T], name: str) -> Iterator[Iterator[_T]]:
    """The items, in order; each is computed in a thread called `name`, while the caller uses the one before.

    An error of `items` is raised in place of the item. If the block ends before the items do, it waits for the one that
    is being computed, and no other is started.
    """
    end = object()

    def made() -> Iterator[_T]:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not `end`

    with ThreadPoolExecutor(1, thread_name_prefix=name) as thread:
        yield made()
