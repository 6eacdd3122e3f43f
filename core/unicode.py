"""Checks whether a text can be stored as UTF-8."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8: whether it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
