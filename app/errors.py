"""Converts exceptions to HTTP responses: status and `{"error": {code, message, param, request_id}}`.

The compatible APIs have other bodies: see app/error_shapes.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.routing import Match

from app.access.caller import Caller
from app.error_shapes import Failure, shape_of
from app.operation.lanes import Overloaded
from app.routepath import route_path
from app.schemas.base import field_path
from core import errors
from core.errors import SalienceError
from core.signing import ALGORITHM

# By the nearest base class that is listed.
STATUS: dict[type[SalienceError], int] = {
    errors.InvalidInput: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.QueueFull: 429,
    errors.SeqNotReached: 503,
    errors.Abandoned: 503,
    errors.Forbidden: 403,
    errors.InvalidSignature: 401,
    errors.RemoteError: 502,
    errors.RemoteUnavailable: 503,
    errors.IndexUnavailable: 503,
    errors.ModelUnavailable: 503,
    errors.SchemaTooNew: 503,
    errors.StorageBusy: 503,
    errors.StorageReadOnly: 503,
    errors.StorageFull: 507,
    SalienceError: 500,
}
RETRY_AFTER_SECONDS = 1
_HTTP_CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
}
# Caused by load or by a caller's unreachable min_seq, not by a fault of the server, and possibly many: they are not
# logged as errors, only in the request's own line.
_EXPECTED = (Overloaded, errors.Abandoned, errors.SeqNotReached)
_log = structlog.get_logger("salience.error")


class Unauthorized(SalienceError):
    """Send a valid bearer token in the Authorization header: a key, or one of the settings' tokens."""

    code = "unauthorized"


class RequestTimeout(SalienceError):
    """The request did not come in time."""

    code = "request_timeout"


class Gone(SalienceError):
    """This is not offered any more."""

    code = "gone"


class QuotaExceeded(SalienceError):
    """The quota is used up; wait a while."""

    code = "quota_exceeded"
    retryable = True

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds after which there is room again; None: this request never fits the quota."""
        super().__init__(message)
        self.retry_after = retry_after
        self.retryable = retry_after is not None


class Malformed(SalienceError):
    """The request is not of the documented form."""

    code = "malformed_request"

    @classmethod
    def of(cls, problems: Sequence[tuple[Sequence[int | str], str]]) -> Self:
        """Create the error from pydantic's problems: (location, message) each. The message has the first five."""
        message = "; ".join(f"{field_path(place) or 'body'}: {problem}" for place, problem in problems[:5])
        return cls(message, param=field_path(problems[0][0]) or None)


class Refused(HTTPException):
    """Wraps an error that is raised while a body is read.

    FastAPI passes an HTTPException through there, and reports any other exception as an invalid body.
    """

    def __init__(self, error: SalienceError) -> None:
        super().__init__(status_of(error), error.message)
        self.error = error


STATUS[Malformed] = 422
STATUS[Unauthorized] = 401
STATUS[Gone] = 410
STATUS[RequestTimeout] = 408
STATUS[Overloaded] = 503
STATUS[QuotaExceeded] = 429


def install(app: FastAPI) -> None:
    """Install the exception handlers, which answer every failure in the shape of the request's API."""
    app.add_exception_handler(SalienceError, answered)
    app.add_exception_handler(RequestValidationError, _on_malformed)
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(AnyHTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)


def status_of(error: SalienceError | type[SalienceError]) -> int:
    """Return the HTTP status of an error or an error class."""
    kind = error if isinstance(error, type) else type(error)
    return next(STATUS[one] for one in kind.__mro__ if one in STATUS)


def error_response(request: Request, status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    """Create an error response in the format of the request's API."""
    request_id = getattr(request.state, "request_id", None)
    request.scope["state"]["error_code"] = code  # for the request's line in the log, and the metrics
    status, body = shape_of(route_path(request.scope))(Failure.of(status, code, message, param, request_id))
    return JSONResponse(body, status_code=status)


def answered(request: Request, error: Exception) -> JSONResponse:
    """Create the response to a SalienceError; server errors that are not `_EXPECTED` are logged, too."""
    assert isinstance(error, SalienceError)
    log_failures([error])
    status = status_of(error)
    caller = getattr(request.state, "caller", None)
    if isinstance(caller, Caller):
        caller.told(error)
    elif isinstance(error, errors.StorageError):
        error.args = (type(error)().message,)  # unauthenticated clients must not learn the data's path
    response = error_response(request, status, error.code, error.message, error.param)
    if error.retryable:
        wait = RETRY_AFTER_SECONDS if error.retry_after is None else error.retry_after
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if status == 401:
        signed = isinstance(error, errors.InvalidSignature)
        response.headers["WWW-Authenticate"] = ALGORITHM if signed else "Bearer"
    return response


def log_failures(failures: Iterable[SalienceError]) -> None:
    """Log the server errors among the failures of one request that are not `_EXPECTED`, each reason once."""
    logged = [error for error in failures if status_of(error) >= 500 and not isinstance(error, _EXPECTED)]
    for code, reason in dict.fromkeys((error.code, error.detail) for error in logged):
        _log.error("request failed", code=code, error=reason)


def _on_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return answered(request, error.error)


def _on_malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        reason, place = problems[0]["ctx"]["error"], problems[0]["loc"][-1]
        message = f"the body is not valid JSON: {reason} at character {place}"
        return error_response(request, 422, "malformed_request", message)
    if isinstance(error.body, bytes) and error.body:
        message = "the body must be JSON, sent with the header Content-Type: application/json"
        return error_response(request, 422, "malformed_request", message)
    refused = Malformed.of([(problem["loc"][1:], problem["msg"]) for problem in problems])
    return error_response(request, status_of(refused), refused.code, refused.message, refused.param)


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    code = _HTTP_CODES.get(error.status_code, "malformed_request")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    response = error_response(request, error.status_code, code, _http_message(request, error, headers))
    response.headers.update(headers)
    return response


def _on_bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected failure", exc_info=error)
    return error_response(request, 500, "internal", "an unexpected failure; the server's log has the details")


def _allowed(request: Request) -> str:
    """Return the methods of all routes with this path; the exception has those of the first route only."""
    routes = [one for one in iter_route_contexts(request.app.routes) if one.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _http_message(request: Request, error: AnyHTTPException, headers: Mapping[str, str]) -> str:
    match error.status_code, error.__cause__:
        case 404, _:
            return f"there is nothing at {request.url.path}; the API is under /v1, its documentation at /docs"
        case 405, _:
            return f"{request.url.path} does not take {request.method}; allowed are {headers['Allow']}; see /docs"
        case 400, UnicodeDecodeError() as cause:
            return f"the body is not valid {cause.encoding}: {cause.reason} at byte {cause.start}; send JSON as UTF-8"
        case 400, RecursionError():
            return "the body's JSON is nested too deeply"
        case 400, ValueError():  # Python's limit on the digits of an integer
            return "the body's JSON has an integer of too many digits; send it as a text"
        case _:
            return str(error.detail)
