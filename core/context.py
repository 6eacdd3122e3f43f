"""Context variables of the running code: its job, trace, token counter and priority, and the answer it works on.

They follow a request into the thread that serves it, and the work of one thread never sees those of another. The code
that begins the work sets them in a `with` block; code further down reads them, so they need not be passed along.

A thread that is started for a part of the work does not inherit them. Either it gets all of them by
`copy_context().run`, as in `retriever/timelimit.py`: tokens are counted in the thread where a model reads them, or
where a cache answers in its place, and not again in the thread that waits. Or it sets anew the ones that it needs, as
in `indexer/turn.py`: the cost of a job's documents was already counted when they were submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import Abandoned
from core.protocols import Priority


class Awaited:
    """An answer that somebody waits for. Thread-safe: one thread gives up, and another checks `over`."""

    __slots__ = ("_given_up", "_until", "_within", "began")

    def __init__(self, until: float | None = None, *, within: Awaited | None = None) -> None:
        """`until`: when waiting ends, by time.monotonic; None: never. `within`: the answer that this is a part of."""
        self.began = time.monotonic()
        self._until = until
        self._within = within
        self._given_up = False

    def give_up(self) -> None:
        self._given_up = True

    @property
    def remaining(self) -> float | None:
        """Seconds until nobody waits any more, at least 0; None: no limit."""
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
    """Work in the block is done for `answer`."""
    token = _awaited.set(answer)
    try:
        yield
    finally:
        _awaited.reset(token)


def current_answer() -> Awaited | None:
    """The answer that this code works on; None for work that is done even if nobody waits, such as a job."""
    return _awaited.get()


def check_awaited() -> None:
    """Raise Abandoned if nobody waits for the answer any more. Call it before each step that takes a while."""
    answer = _awaited.get()
    if answer is not None and answer.over:
        raise Abandoned


@contextmanager
def working_on(job_id: int) -> Iterator[None]:
    """Work in the block is done for this job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def current_job() -> int | None:
    """The id of the job that this code works on; None: no job."""
    return _job.get()


@contextmanager
def traced_as(traceparent: str | None) -> Iterator[None]:
    """Work in the block belongs to the trace of `traceparent`, a header value as in W3C Trace Context."""
    token = _trace.set(traceparent)
    try:
        yield
    finally:
        _trace.reset(token)


def current_trace() -> str | None:
    """The `traceparent` to send along with requests to other services; None: there is none."""
    return _trace.get()


@contextmanager
def counted(count: Callable[[int], None]) -> Iterator[None]:
    """Call `count` with the number of tokens of every forward pass made for the work in the block.

    It may be called in any thread; it must be quick and not raise.
    """
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def models_read(tokens: int) -> None:
    """Report that a model has read `tokens` tokens, special ones included, for the current work."""
    count = _count.get()
    if count is not None:
        count(tokens)


@contextmanager
def after_others() -> Iterator[None]:
    """Models serve the work in the block after that of all other requests and jobs (Priority.NICE)."""
    token = _last.set(True)
    try:
        yield
    finally:
        _last.reset(token)


def current_priority(usual: Priority) -> Priority:
    """The priority of this code at a model: `usual`, unless the request asked to be served last."""
    return Priority.NICE if _last.get() else usual
