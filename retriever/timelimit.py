"""A time limit for calls that cannot be interrupted: the caller stops waiting, and the call goes on in a thread."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from core.context import Awaited, awaited, current_answer

_THREADS = 16  # calls at once, including those given up; further ones wait for a free slot until their time is over
PATIENCE_SECONDS = 5.0  # a batch of a model takes less, and then checks whether anybody waits
_NAME = "time-limit"
_T = TypeVar("_T")


class TimeLimit:
    """Limits the time of calls. Thread-safe. At exit the process waits for calls for at most PATIENCE_SECONDS."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_THREADS)

    def call(self, work: Callable[[], _T], seconds: float | None) -> _T:
        """Return what `work` returns, or raise what it raises. Raises TimeoutError after `seconds`; None: no limit.

        After a timeout, work that has begun goes on in its thread until it next checks whether anybody waits; its
        result is dropped.
        """
        if seconds is None:
            return work()
        until = time.monotonic() + seconds
        if not seconds or not self._places.acquire(timeout=seconds):
            raise TimeoutError
        answer, future = Awaited(within=current_answer()), Future[_T]()
        with awaited(answer):
            context = copy_context()
        # Not an executor: at exit the interpreter waits for all executor threads, however long they take.
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
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._places.release()


@atexit.register
def _end() -> None:
    """Wait at exit for running calls, for at most PATIENCE_SECONDS.

    The interpreter kills daemon threads when it ends, and C++ code such as torch then aborts the process.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    for thread in threading.enumerate():
        if thread.name == _NAME:
            thread.join(max(0.0, until - time.monotonic()))
