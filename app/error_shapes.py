"""The shape in which each API tells its clients of errors: our own under /v1, that of its public clients elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from app.schemas import printable


class Failure(NamedTuple):
    """What went wrong with a request."""

    status: int  # HTTP
    code: str  # stable, such as "invalid_control"
    message: str
    param: str | None
    request_id: str | None


Shape = Callable[[Failure], tuple[int, dict[str, Any]]]  # the status that this API's clients expect, and the body


def shape_of(path: str) -> Shape:
    """By the path of the request."""
    return _SHAPES.get(path, native)


def native(failure: Failure) -> tuple[int, dict[str, Any]]:
    """`{"error": {code, message, param, request_id}}`"""
    param = None if failure.param is None else printable(failure.param)
    body = {
        "code": failure.code,
        "message": printable(failure.message),
        "param": param,
        "request_id": failure.request_id,
    }
    return failure.status, {"error": body}


_SHAPES: dict[str, Shape] = {}
