"""The context of the running code: its job, its trace, whose tokens it counts, its priority, and who waits for it.

All are context variables: they follow a request into the thread that serves it, and the work of one thread never sees
those of another. Whoever begins the work says so in a `with`; code further down asks, and need not be handed anything.
A thread that the work starts for a part of itself knows none of them. It is handed all by `copy_context().run`, as
`retriever/timelimit.py` does: tokens are counted where a model has read them, or what it read lately is remembered, in
whatever thread, and by nobody who waits for it. Or it says anew what holds, as `indexer/turn.py` does: what a job's
documents cost was counted as they came in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import Abandoned
from core.protocols import Priority


class Awaited:
    """An answer that somebody waits for, until they give up. Thread-safe: one side gives up, the other asks."""

    __slots__ = ("_given_up", "_until", "_within", "began")

    def __init__(self, until: float | None = None, *, within: Awaited | None = None) -> None:
        """`until`: by time.monotonic, None: without an end. `within`: the answer that this one is a part of."""
        self.began = time.monotonic()
        self._until = until
        self._within = within
        self._given_up = False

    def give_up(self) -> None:
        self._given_up = True

    @property
    def remaining(self) -> float | None:
        """Seconds until nobody waits any more, 0 or more; None: without an end."""
        outer = None if self._within is None else self._within.remaining
        own = None if self._until is None else max(0.0, self._until - time.monotonic())
        ends = [seconds for seconds in (outer, own) if seconds is not None]
        return min(ends, default=None)

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        late = self._until is not None and time.monotonic() >= self._until
        return self._given_up or late or (self._within is not None and self._within.over)


_awaited: ContextVar[Awaited | None] = ContextVar("salience_awaited", default=None)
_job: ContextVar[int | None] = ContextVar("salience_job", default=None)
_trace: ContextVar[str | None] = ContextVar("salience_trace", default=None)
_count: ContextVar[Callable[[int], None] | None] = ContextVar("salience_count", default=None)
_last: ContextVar[bool] = ContextVar("salience_last", default=False)


@contextmanager
def awaited(answer: Awaited) -> Iterator[None]:
    """What is done in the block is done for `answer`."""
    token = _awaited.set(answer)
    try:
        yield
    finally:
        _awaited.reset(token)


def current_answer() -> Awaited | None:
    """The answer that this code works on; None: work that is done whoever waits, as a job's."""
    return _awaited.get()


def check_awaited() -> None:
    """For the beginning of a step that takes a while. Raises Abandoned where nobody waits for the answer."""
    answer = _awaited.get()
    if answer is not None and answer.over:
        raise Abandoned


@contextmanager
def working_on(job_id: int) -> Iterator[None]:
    """What is done in the block is done for this job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def current_job() -> int | None:
    """The number of the job that this code works on."""
    return _job.get()


@contextmanager
def traced_as(traceparent: str | None) -> Iterator[None]:
    """What is done in the block belongs to this trace: what W3C Trace Context calls the value of `traceparent`."""
    token = _trace.set(traceparent)
    try:
        yield
    finally:
        _trace.reset(token)


def current_trace() -> str | None:
    """The `traceparent` that requests to other services carry on; None: there is none."""
    return _trace.get()


@contextmanager
def counted(count: Callable[[int], None]) -> Iterator[None]:
    """`count` is called with the tokens of every forward pass that is made for the work in the block.

    In whatever thread that goes on: it must be quick, and not raise.
    """
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def models_read(tokens: int) -> None:
    """For a model that has read so many tokens, special ones included, for this code."""
    count = _count.get()
    if count is not None:
        count(tokens)


@contextmanager
def after_others() -> Iterator[None]:
    """Models read what is done in the block after all that other requests and jobs need."""
    token = _last.set(True)
    try:
        yield
    finally:
        _last.reset(token)


def current_priority(usual: Priority) -> Priority:
    """The priority of this code at a model; `usual`: of such work, where the request did not ask to be served last."""
    return Priority.NICE if _last.get() else usual
