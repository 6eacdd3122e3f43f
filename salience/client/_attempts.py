"""How often a call is tried, and what is waited in between: a generator that asks for each, and sends nothing itself.

It yields calls and pauses, and is sent what came of them, so that the synchronous and the asynchronous client go by the
same rules. Tried again is what was refused for now (429, 503, or a 409 that says when), and what lost its connection.
Where nobody knows whether a call was served, it is only repeated if that does no harm. A call that takes too long is
not: the server would do the work twice.

Pauses grow exponentially with full jitter (Brooker, "Exponential backoff and jitter", 2015) on top of what the server
asks for by Retry-After.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from salience.client._calls import Answer, Call, failed
from salience.client.errors import ConnectionFailed, RequestFailed, TimedOut, UnexpectedAnswer

T = TypeVar("T")
_DOUBLINGS = 64  # of a pause, which is then longer than any; from 1,024 on there is no such float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Wait this long."""

    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """A call that came to nothing."""

    error: ConnectionFailed
    sent: bool  # whether the server may have got it


Steps = Generator[Call[Any] | Pause, Answer | NoAnswer | None, T]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How patient a client is."""

    tries: int = 4  # of one call, the first one included
    base_seconds: float = 0.25  # of the first pause, at most; each further one may be twice as long
    longest_seconds: float = 30.0  # of a pause; a server that asks for more is not asked again

    def __post_init__(self) -> None:
        if not (self.tries >= 1 and self.base_seconds >= 0 and self.longest_seconds >= 0):  # nan is none of these
            raise ValueError(f"{self}: tries must be 1 or more, seconds 0 or more")


def attempts(call: Call[T], retries: Retries) -> Steps[T]:
    """Raises RequestFailed, ConnectionFailed, UnexpectedAnswer."""
    for number in range(1, retries.tries + 1):
        outcome = yield call
        assert outcome is not None
        if isinstance(outcome, NoAnswer):
            error: RequestFailed | ConnectionFailed = outcome.error
            worth = not outcome.sent or (call.repeatable and not isinstance(error, TimedOut))  # it may still be at work
            asked = 0.0
        elif outcome.status < 300:
            return call.read(outcome)
        elif outcome.status < 400:
            raise UnexpectedAnswer(
                f"{call.method} {call.path}: nothing was done; the answer (status {outcome.status}) leads to "
                f"{outcome.headers.get('location', 'another address')!r:.200}: give the client the address of Salience"
            )
        else:
            error = refusal = failed(outcome)
            worth = _refused_for_now(refusal, call)
            asked = refusal.retry_after or 0.0
        if not worth or not call.at_hand or number == retries.tries or asked > retries.longest_seconds:
            raise error
        doubled = min(number - 1, _DOUBLINGS)
        jitter = random.uniform(0, min(retries.longest_seconds, retries.base_seconds * 2**doubled))
        yield Pause(seconds=min(asked + jitter, retries.longest_seconds))
    raise AssertionError("unreachable: the last try returns or raises")


def _refused_for_now(error: RequestFailed, call: Call[Any]) -> bool:
    """Salience says by Retry-After what has a chance later, and did nothing; others before it may not say it."""
    if error.status not in (409, 429, 503):
        return False
    if error.code:
        return error.retry_after is not None
    return call.repeatable and error.status != 409
