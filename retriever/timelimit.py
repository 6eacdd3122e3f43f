"""A time limit for calls that cannot be interrupted: nobody waits for them any longer than that."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from core.context import Awaited, awaited, current_answer

_THREADS = 16  # calls that go on although nobody waits any more; further ones wait for a place, or are given up there
PATIENCE_SECONDS = 5.0  # a batch of a model takes less, and then it asks whether anybody waits
_NAME = "time-limit"
_T = TypeVar("_T")


class TimeLimit:
    """Thread-safe. A process that ends waits PATIENCE_SECONDS at most for calls that were given up."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_THREADS)

    def call(self, work: Callable[[], _T], seconds: float | None) -> _T:
        """What `work` returns, or raises. None: whenever that is. Raises TimeoutError after `seconds`.

        Work that has begun then goes on in its thread, up to where it asks whether anybody waits; its result is
        dropped.
        """
        if seconds is None:
            return work()
        until = time.monotonic() + seconds
        if not seconds or not self._places.acquire(timeout=seconds):
            raise TimeoutError
        answer, future = Awaited(within=current_answer()), Future[_T]()
        with awaited(answer):
            context = copy_context()
        # No executor: the interpreter waits at its end for the threads of every one, however long they take.
        thread = threading.Thread(target=self._run, args=(context.run, work, future), name=_NAME, daemon=True)
        try:
            thread.start()
        except BaseException:
            self._places.release()
            raise
        try:
            return future.result(until - time.monotonic())
        except TimeoutError:
            answer.give_up()
            raise

    def _run(self, within: Callable[[Callable[[], _T]], _T], work: Callable[[], _T], future: Future[_T]) -> None:
        try:
            result = within(work)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._places.release()


@atexit.register
def _end() -> None:
    """The interpreter takes its threads away when it ends, and C++ code, as torch is, aborts the process for that."""
    until = time.monotonic() + PATIENCE_SECONDS
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join(max(0.0, until - time.monotonic()))
