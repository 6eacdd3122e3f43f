"""Errors for invalid input, which the caller can fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from core.errors.base import SalienceError


class InvalidInput(SalienceError):
    """The input is not valid."""

    code = "invalid_input"
    index: int | None = None  # position of the invalid prompt in the list given to a model; None: unknown

    @staticmethod
    @contextmanager
    def indexed(index: int) -> Iterator[None]:
        """Set `index` on every InvalidInput that is raised within the block."""
        try:
            yield
        except InvalidInput as error:
            error.index = index
            raise

    def at(self, place: str, param: str | None = None) -> Self:
        """A copy whose message begins with its place in the request. `param` replaces the error's own, if given."""
        return type(self)(f"{place}: {self.message}", param=self.param if param is None else param)


class InvalidQuery(InvalidInput):
    """The query is not valid."""

    code = "invalid_query"


class InvalidControl(InvalidInput):
    """The attention control is not valid."""

    code = "invalid_control"


class InvalidFilter(InvalidInput):
    """The filter is not valid."""

    code = "invalid_filter"


class InvalidDocument(InvalidInput):
    """The document is not valid."""

    code = "invalid_document"


class InvalidSettings(InvalidInput):
    """The settings are not valid."""

    code = "invalid_settings"


class UnreadableFile(InvalidInput):
    """The file cannot be read."""

    code = "unreadable_file"


class UnwritableFile(InvalidInput):
    """The file cannot be written."""

    code = "unwritable_file"


class TooLarge(SalienceError):
    """The input is larger than allowed."""

    code = "too_large"
