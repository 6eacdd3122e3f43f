"""The base class of all Salience errors."""

from __future__ import annotations

import inspect


class SalienceError(Exception):
    """Something in Salience went wrong."""

    code = "error"
    retryable = False
    retry_after: float | None = None  # seconds after which a retry may succeed; None: unknown

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        """`message` says what was wrong, where, and what is allowed; `param` names the offending input."""
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or self.code))
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def detail(self) -> str:
        """The text for the log and the local operator: the message, or more than callers should see."""
        return self.message
