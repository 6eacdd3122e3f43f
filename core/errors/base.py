"""What every error of the tree has."""

from __future__ import annotations

import inspect


class SalienceError(Exception):
    """Something in Salience went wrong."""

    code = "error"
    retryable = False
    retry_after: float | None = None  # seconds after which another try has a chance; None: unknown

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        """`message` says what was wrong, where, and what is allowed; `param` names the offending input."""
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or self.code))
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def detail(self) -> str:
        """What the log and the operator at the machine are told: the message, unless callers are not to know it all."""
        return self.message
