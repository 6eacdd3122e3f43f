"""What is wrong with an input, so that whoever sent it can mend it."""

from __future__ import annotations

from core.errors.base import SalienceError


class InvalidInput(SalienceError):
    """The input is not valid."""

    code = "invalid_input"
    index: int | None = None  # of the prompt at fault, among those that a model was given together; None: unknown


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


class TooLarge(SalienceError):
    """The input is larger than allowed."""

    code = "too_large"
