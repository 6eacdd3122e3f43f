"""What is refused for now, or to this caller."""

from __future__ import annotations

from core.errors.base import SalienceError


class QueueFull(SalienceError):
    """Too many documents wait to be indexed; try again later."""

    code = "queue_full"
    retryable = True
    retry_after = 10.0


class SeqNotReached(SalienceError):
    """The collection has not come to the state that was asked for; try again."""

    code = "seq_not_reached"
    retryable = True


class Abandoned(SalienceError):
    """The time that the request was given is over before its answer was there; give it more, or try again later."""

    code = "abandoned"
    retryable = True


class Forbidden(SalienceError):
    """Whoever asks for this may not do it."""

    code = "forbidden"


class InvalidSignature(SalienceError):
    """The request's signature does not hold."""

    code = "invalid_signature"
