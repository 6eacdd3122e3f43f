"""What is wrong with models, here and elsewhere."""

from __future__ import annotations

from core.errors.base import SalienceError


class ModelError(SalienceError):
    """The model cannot be used."""

    code = "model_error"


class RemoteError(SalienceError):
    """The remote embedding service failed."""

    code = "remote_error"


class RemoteUnavailable(RemoteError):
    """The remote embedding service cannot be reached, or asks to wait."""

    code = "remote_unavailable"
    retryable = True

    def __init__(
        self, message: str | None = None, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class RemoteRefused(RemoteError):
    """The remote embedding service refused the request."""

    code = "remote_refused"

    def __init__(self, message: str | None = None, *, param: str | None = None, status: int | None = None) -> None:
        """`status`: of the HTTP answer; None: it was none, or the answer said otherwise."""
        super().__init__(message, param=param)
        self.status = status


class RemoteMismatch(RemoteError):
    """The remote embedding service answered with something that does not fit the request."""

    code = "remote_mismatch"
