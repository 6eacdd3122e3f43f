"""Calls that cannot be interrupted, and that nobody waits for longer than there is time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

_THREADS = 16  # calls that go on although nobody waits any more; further ones wait for a place, or are given up there
_T = TypeVar("_T")


class InTime:
    """Thread-safe."""

    def call(self, work: Callable[[], _T], seconds: float | None) -> _T:
        """What `work` returns, or raises. None: whenever that is. Raises TimeoutError after `seconds`.

        Work that has begun then goes on in its thread, and its result is dropped.
        """
        if seconds is None:
            return work()
        if not seconds:
            raise TimeoutError
        future: Future[_T] = self._threads.submit(work)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="in-time")
