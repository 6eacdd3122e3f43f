"""Errors for requests that are refused, temporarily or for this caller."""

from __future__ import annotations

from core.errors.base import SalienceError


class QueueFull(SalienceError):
    """Too many documents wait to be indexed; try again later."""

    code = "queue_full"
    retryable = True
    retry_after = 10.0


class SeqNotReached(SalienceError):
    """The collection has not reached the state that was asked for; try again."""

    code = "seq_not_reached"
    retryable = True


class Abandoned(SalienceError):
    """The request ran out of time before its answer was ready; allow more time, or try again later."""

    code = "abandoned"
    retryable = True


class Forbidden(SalienceError):
    """You are not allowed to do this."""

    code = "forbidden"


class InvalidSignature(SalienceError):
    """The request's signature does not hold."""

    code = "invalid_signature"
