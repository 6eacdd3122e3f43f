"""Prefetching: the next item is made in a thread while the one before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")


@contextmanager
def prefetched(items: Iterator[_T], name: str) -> Iterator[Iterator[_T]]:
    """The items, in their order; each is made in a thread called `name`, while whoever takes them is at the one before.

    What `items` raise is raised where the item would have come. When the block ends before the items do, the one at
    hand is waited for, and no other is made.
    """
    end = object()

    def made() -> Iterator[_T]:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not `end`

    with ThreadPoolExecutor(1, thread_name_prefix=name) as thread:
        yield made()
