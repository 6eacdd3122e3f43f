"""Every error that the client raises, as one tree.

    SalienceError
    ├── ConnectionFailed             no answer: the server cannot be reached, or the connection broke
    │   └── TimedOut                 no answer in time
    ├── UnexpectedAnswer             an answer that is not of the documented form: another program, a newer server
    ├── Unfinished                   what was waited for has not ended well, or not in the time given
    │   └── JobUnfinished, ReindexUnfinished
    └── RequestFailed                the server's own word: status, code, param, request_id
        ├── InvalidRequest           400, 422: the caller can mend it
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
            └── Unavailable          503: not now; another try has a chance
                └── SeqNotReached    the state that was asked for is not there yet

A code that has no class of its own is raised as the class of its status; `code` says which one it is.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SalienceError(Exception):
    """Something went wrong between this program and the server."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what one process tells another: most of them cannot be made of their message alone."""
        return _remade, (type(self), self.args), self.__dict__


class ConnectionFailed(SalienceError):
    """No answer: the server cannot be reached, or the connection broke. Whether the request was served is unknown."""


class TimedOut(ConnectionFailed):
    """No answer in the time given."""


class UnexpectedAnswer(SalienceError):
    """An answer that is not of the documented form."""


class Unfinished(SalienceError):
    """What was waited for has ended otherwise than well, or has not ended in the time given."""

    def __init__(self, message: str, *, id: int, state: str) -> None:
        super().__init__(message)
        self.id = id  # of the job, of the reindex
        self.state = state


class JobUnfinished(Unfinished):
    """A job that is not done."""


class ReindexUnfinished(Unfinished):
    """A reindex whose new generation neither answers nor waits to."""


class RequestFailed(SalienceError):
    """The server refused or failed."""

    codes: ClassVar[tuple[str, ...]] = ()  # those that are raised as this class
    statuses: ClassVar[tuple[int, ...]] = ()  # where no class has the code

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
        self.param = param  # the input that is at fault
        self.request_id = request_id  # what the server's log calls the request
        self.retry_after = retry_after  # seconds after which another try has a chance; None: not said

    def __str__(self) -> str:
        named = "" if self.request_id is None else f", request {self.request_id}"
        return f"{self.message} ({self.code}, status {self.status}{named})"


class InvalidRequest(RequestFailed):
    """The request cannot be served as it is; the message says what is allowed."""

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
    """The request contradicts the present state."""

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
    """More than the server takes; send less at once."""

    statuses = (413,)


class RateLimited(RequestFailed):
    """Over a quota or a limit of the key."""

    statuses = (429,)


class QueueFull(RateLimited):
    codes = ("queue_full",)


class ServerFailed(RequestFailed):
    """The server could not; its log says why, under the request's id."""


class Unavailable(ServerFailed):
    """Not now."""

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
    """The error of a code; where none has it, that of the status."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (ServerFailed if status >= 500 else RequestFailed)
    return kind(message, status=status, code=code, param=param, request_id=request_id, retry_after=retry_after)


def _remade(kind: type[SalienceError], arguments: tuple[Any, ...]) -> SalienceError:
    return kind.__new__(kind, *arguments)


def _tree(kind: type[RequestFailed]) -> list[type[RequestFailed]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


_BY_CODE = {code: kind for kind in _tree(RequestFailed) for code in vars(kind).get("codes", ())}
_BY_STATUS = {status: kind for kind in _tree(RequestFailed) for status in vars(kind).get("statuses", ())}
