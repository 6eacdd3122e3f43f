"""Calls that cannot be interrupted, and that nobody waits for longer than there is time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property
from typing import TypeVar

from core.current import Awaited, awaited, current_answer

_THREADS = 16  # calls that go on although nobody waits any more; further ones wait for a place, or are given up there
_T = TypeVar("_T")


class InTime:
    """Thread-safe."""

    def call(self, work: Callable[[], _T], seconds: float | None) -> _T:
        """What `work` returns, or raises. None: whenever that is. Raises TimeoutError after `seconds`.

        Work that has begun then goes on in its thread, up to where it asks whether anybody waits; its result is
        dropped.
        """
        if seconds is None:
            return work()
        if not seconds:
            raise TimeoutError
        answer = Awaited(within=current_answer())
        with awaited(answer):
            future: Future[_T] = self._threads.submit(copy_context().run, work)
        try:
            return future.result(seconds)
        except TimeoutError:
            answer.give_up()
            future.cancel()
            raise

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="in-time")
