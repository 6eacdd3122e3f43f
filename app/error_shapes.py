"""The format of error responses of each API: our own under /v1, and for the compatible APIs the one of the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from app.schemas.base import printable

MAX_MESSAGE = 2_000  # characters: a message may quote a number or a name of the request, which may be very long
MAX_PARAM = 300  # characters, for the same reason


class Failure(NamedTuple):
    """What went wrong with a request."""

    status: int  # HTTP
    code: str  # stable, such as "invalid_control"
    message: str
    param: str | None
    request_id: str | None

    @classmethod
    def of(cls, status: int, code: str, message: str, param: str | None, request_id: str | None) -> Self:
        """Create a failure, with message and param shortened to MAX_MESSAGE and MAX_PARAM characters."""
        return cls(status, code, _shortened(message, MAX_MESSAGE), param and _shortened(param, MAX_PARAM), request_id)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


Shape = Callable[[Failure], tuple[int, dict[str, Any]]]  # returns the status that the clients expect, and the body


def shape_of(path: str) -> Shape:
    """Return the shape for a request's path: the entry for the path or its nearest parent, else `native`."""
    while path:
        if path in _SHAPES:
            return _SHAPES[path]
        path = path.rpartition("/")[0]
    return native


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


def aleph_alpha(failure: Failure) -> tuple[int, dict[str, Any]]:
    """`{"error": sentence, "code": "UPPER_SNAKE"}`; as its clients expect, most errors of the request become a 400."""
    known = failure.status in (401, 405, 408, 410, 413, 429) or failure.status >= 500
    return failure.status if known else 400, {"error": printable(failure.message), "code": failure.code.upper()}


def openai(failure: Failure) -> tuple[int, dict[str, Any]]:
    """`{"error": {message, type, param, code}}`; a 422 becomes a 400."""
    status = 400 if failure.status == 422 else failure.status
    kind = {429: "rate_limit_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status, failure.code)
    param = None if failure.param is None else printable(failure.param)
    return status, {"error": {"message": printable(failure.message), "type": kind, "param": param, "code": code}}


def vikingdb(failure: Failure) -> tuple[int, dict[str, Any]]:
    """`{code, message, request_id}`, with the codes that its SDK maps to exceptions; a 422 becomes a 400."""
    status = 400 if failure.status == 422 else failure.status
    code, what = _vikingdb_code(status, failure.code)
    message = printable(f"{what}: {failure.message}")
    return status, {"code": code, "message": message, "request_id": failure.request_id}


def _vikingdb_code(status: int, code: str) -> tuple[int, str]:
    match status:
        case 401:
            return 1000001, "unauthorized"
        case 404 if code == "not_found":
            return 1000024, "invalid request"  # a path of that service that does not exist here
        case 404:
            return 1000025, "failed to calcTextEmbedding"
        case 429:
            return 1000029, "over the quota"
        case _ if status >= 500:
            return 1000028, "internal error"
        case _:
            return 1000003, "invalid request"


_SHAPES: dict[str, Shape] = {
    "/batch_semantic_embed": aleph_alpha,
    "/complete": aleph_alpha,
    "/detokenize": aleph_alpha,
    "/embed": aleph_alpha,
    "/evaluate": aleph_alpha,
    "/explain": aleph_alpha,
    "/models": aleph_alpha,
    "/models_available": aleph_alpha,
    "/qa": aleph_alpha,
    "/semantic_embed": aleph_alpha,
    "/summarize": aleph_alpha,
    "/tokenize": aleph_alpha,
    "/version": aleph_alpha,
    "/api": vikingdb,
    "/embeddings": openai,
    "/rerank": openai,
    "/v1/embeddings": openai,
    "/v1/models": openai,
    "/v1/rerank": openai,
}
