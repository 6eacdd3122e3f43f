"""Errors of local and remote models."""

from __future__ import annotations

from core.backoff import MAX_ASKED_SECONDS
from core.errors.base import SalienceError


class ModelError(SalienceError):
    """The model cannot be used."""

    code = "model_error"


class ModelUnavailable(ModelError):
    """The model cannot be loaded; the server's log and `salience doctor` say why."""

    code = "model_unavailable"

    def __init__(self, message: str | None = None, *, param: str | None = None, detail: str | None = None) -> None:
        """`detail`: the reason, with the files at fault; None: the message says it all."""
        super().__init__(message, param=param)
        self._detail = detail

    @property
    def detail(self) -> str:
        return self._detail or self.message


class RemoteError(SalienceError):
    """The remote embedding service failed."""

    code = "remote_error"
    index: int | None = None  # of the one prompt in the call that may be at fault; None: the fault is the remote's


class RemoteUnavailable(RemoteError):
    """The remote embedding service cannot be reached, or asks to wait."""

    code = "remote_unavailable"
    retryable = True

    def __init__(
        self, message: str | None = None, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        """`retry_after`: seconds; capped at 300, whatever the remote or its quota asks for."""
        super().__init__(message, param=param)
        self.retry_after = None if retry_after is None else min(retry_after, MAX_ASKED_SECONDS)


class RemoteRefused(RemoteError):
    """The remote embedding service refused the request."""

    code = "remote_refused"

    def __init__(self, message: str | None = None, *, param: str | None = None, status: int | None = None) -> None:
        """`status`: of the HTTP answer; None: there was no answer, or its status was not the reason."""
        super().__init__(message, param=param)
        self.status = status


class RemoteMismatch(RemoteError):
    """The remote embedding service answered with something that does not fit the request."""

    code = "remote_mismatch"

    def __init__(self, message: str | None = None, *, param: str | None = None, index: int | None = None) -> None:
        super().__init__(message, param=param)
        self.index = index
