"""The hierarchy of all errors that the client raises.

    SalienceError
    ├── ConnectionFailed             no answer: the server cannot be reached, or the connection broke
    │   └── TimedOut                 no answer in time
    ├── UnexpectedAnswer             an answer that is not of the documented form: another program, a newer server
    ├── Unfinished                   a job or reindex ended badly, or not in time
    │   └── JobUnfinished, ReindexUnfinished
    └── RequestFailed                an error from the server: status, code, param, request_id
        ├── InvalidRequest           400, 422: the caller can fix it
        │   ├── InvalidQuery, InvalidControl, InvalidFilter, InvalidDocument, InvalidSettings
        │   └── MalformedRequest
        ├── Unauthorized             401
        ├── Forbidden                403
        ├── NotFound                 404
        │   └── CollectionNotFound, DocumentNotFound, HitNotFound, JobNotFound, ModelNotFound
        ├── Conflict                 409
        │   ├── CollectionExists, ModelMismatch, CursorExpired
        │   └── JobConflict
        │       └── StillReceived    that request is still coming in; another try has a chance
        ├── TooLarge                 413
        ├── RateLimited              429: over a quota
        │   └── QueueFull            too many documents wait to be indexed
        └── ServerFailed             5xx
            └── Unavailable          503: temporary; a retry may succeed
                └── SeqNotReached    the requested state has not been reached yet

An error code without a class of its own is raised as the class of its status; `code` has the exact code.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SalienceError(Exception):
    """Something went wrong between this program and the server."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """For copying and pickling: most errors cannot be created from their message alone."""
        return _remade, (type(self), self.args), self.__dict__


class ConnectionFailed(SalienceError):
    """No answer: the server cannot be reached, or the connection broke. Whether the request was served is unknown."""


class TimedOut(ConnectionFailed):
    """No answer in the time given."""


class UnexpectedAnswer(SalienceError):
    """An answer that is not of the documented form."""


class Unfinished(SalienceError):
    """A job or reindex that was waited for has failed, or has not ended in the time given."""

    def __init__(self, message: str, *, id: int, state: str) -> None:
        super().__init__(message)
        self.id = id  # of the job or reindex
        self.state = state


class JobUnfinished(Unfinished):
    """A job that is not done."""


class ReindexUnfinished(Unfinished):
    """A reindex whose new generation neither serves nor is ready to."""


class RequestFailed(SalienceError):
    """The server refused the request, or failed."""

    codes: ClassVar[tuple[str, ...]] = ()  # error codes that are raised as this class
    statuses: ClassVar[tuple[int, ...]] = ()  # used if no class has the code

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status  # HTTP
        self.code = code  # stable name of the kind of error
        self.param = param  # the input at fault
        self.request_id = request_id  # identifies the request in the server's log
        self.retry_after = retry_after  # seconds after which a retry may succeed; None: unknown

    def __str__(self) -> str:
        named = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({self.code}, status {self.status}{named})"


class InvalidRequest(RequestFailed):
    """The request is not valid; the message says what is allowed."""

    codes = ("invalid_input",)
    statuses = (400, 422)


class InvalidQuery(InvalidRequest):
    codes = ("invalid_query",)


class InvalidControl(InvalidRequest):
    codes = ("invalid_control",)


class InvalidFilter(InvalidRequest):
    codes = ("invalid_filter",)


class InvalidDocument(InvalidRequest):
    codes = ("invalid_document",)


class InvalidSettings(InvalidRequest):
    codes = ("invalid_settings",)


class MalformedRequest(InvalidRequest):
    codes = ("malformed_request",)


class Unauthorized(RequestFailed):
    """The key is missing, wrong, expired or revoked."""

    statuses = (401,)


class Forbidden(RequestFailed):
    """The key does not allow this."""

    statuses = (403,)


class NotFound(RequestFailed):
    """There is no such thing."""

    statuses = (404, 410)


class CollectionNotFound(NotFound):
    codes = ("collection_not_found",)


class DocumentNotFound(NotFound):
    codes = ("document_not_found",)


class HitNotFound(NotFound):
    codes = ("hit_not_found",)


class JobNotFound(NotFound):
    codes = ("job_not_found",)


class ModelNotFound(NotFound):
    codes = ("model_not_found",)


class Conflict(RequestFailed):
    """The request conflicts with the current state."""

    statuses = (409,)


class CollectionExists(Conflict):
    codes = ("collection_exists",)


class ModelMismatch(Conflict):
    codes = ("model_mismatch",)


class CursorExpired(Conflict):
    codes = ("cursor_expired",)


class JobConflict(Conflict):
    codes = ("job_conflict",)


class StillReceived(JobConflict):
    """Another request with this idempotency key is still coming in; another try has a chance."""

    codes = ("still_received",)


class TooLarge(RequestFailed):
    """The request is larger than the server accepts; send less at once."""

    statuses = (413,)


class RateLimited(RequestFailed):
    """Over a quota or a limit of the key."""

    statuses = (429,)


class QueueFull(RateLimited):
    codes = ("queue_full",)


class ServerFailed(RequestFailed):
    """The server failed; its log says why, under the request's id."""


class Unavailable(ServerFailed):
    """The server is temporarily unavailable."""

    statuses = (503,)


class SeqNotReached(Unavailable):
    codes = ("seq_not_reached",)


def failure(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> RequestFailed:
    """The error for a code; if no class has the code, the one for the status."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (ServerFailed if status >= 500 else RequestFailed)
    return kind(message, status=status, code=code, param=param, request_id=request_id, retry_after=retry_after)


def _remade(kind: type[SalienceError], arguments: tuple[Any, ...]) -> SalienceError:
    return kind.__new__(kind, *arguments)


def _tree(kind: type[RequestFailed]) -> list[type[RequestFailed]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


_BY_CODE = {code: kind for kind in _tree(RequestFailed) for code in vars(kind).get("codes", ())}
_BY_STATUS = {status: kind for kind in _tree(RequestFailed) for status in vars(kind).get("statuses", ())}
