"""Retry logic, as a generator that yields calls and pauses but performs no I/O.

The caller sends the outcome of each step back in, so that the synchronous and the asynchronous client share the same
rules. A call is retried if it was refused temporarily (429, 503, or a 409 with Retry-After), or if the connection
failed. If it is unknown whether a call was served, it is repeated only if that does no harm. A call that timed out
after it was sent is not repeated, because the server would do the work twice.

Pauses grow exponentially with full jitter (Brooker, "Exponential backoff and jitter", 2015), in addition to the time
that the server requests by Retry-After.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from salience.client._calls import Answer, Call, failed
from salience.client.errors import ConnectionFailed, RequestFailed, TimedOut, UnexpectedAnswer

T = TypeVar("T")
_DOUBLINGS = 64  # limit of doublings of a pause: enough for any length; 2.0**1024 would overflow a float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A step: wait this long."""

    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """The outcome of a call that got no answer."""

    error: ConnectionFailed
    sent: bool  # whether the server may have received the call


Steps = Generator[Call[Any] | Pause, Answer | NoAnswer | None, T]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often and how long a client retries. Raises ValueError for values out of range."""

    tries: int = 4  # attempts per call, including the first; at least 1
    base_seconds: float = 0.25  # upper limit of the first pause, which doubles with each further one
    longest_seconds: float = 30.0  # longest pause; if the server asks for more, the call is not retried

    def __post_init__(self) -> None:
        if not (self.tries >= 1 and self.base_seconds >= 0 and self.longest_seconds >= 0):  # also refuses nan
            raise ValueError(f"{self}: tries must be 1 or more, seconds 0 or more")


def attempts(call: Call[T], retries: Retries) -> Steps[T]:
    """The steps of one call with retries. Raises RequestFailed, ConnectionFailed, UnexpectedAnswer."""
    for number in range(1, retries.tries + 1):
        outcome = yield call
        assert outcome is not None
        if isinstance(outcome, NoAnswer):
            error: RequestFailed | ConnectionFailed = outcome.error
            # After a timeout, the server may still be working on the call.
            worth = not outcome.sent or (call.repeatable and not isinstance(error, TimedOut))
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
    """Whether a refusal is temporary. Salience marks that by Retry-After, and then has done nothing.

    A proxy in front of it may not send that header.
    """
    if error.status not in (409, 429, 503):
        return False
    if error.code:
        return error.retry_after is not None
    return call.repeatable and error.status != 409
