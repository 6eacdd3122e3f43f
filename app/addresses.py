"""Redacts URLs for logs and messages: user and password, and the query and fragment, which may contain a key."""

from __future__ import annotations

import re

# Everything up to a space or a quotation mark, without the backslash that escapes the mark in JSON.
_WORD = re.compile(r"""(?:[^\s"'<>\x1b\\]+|\\\\|\\(?!["\\]))+""")
_BEYOND = re.compile("([?#]).*", re.DOTALL)


def shown_address(address: str) -> str:
    """Return `address` with asterisks in place of everything that may be a credential."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    _, user, place = rest.rpartition("@")  # at the last @: a password may contain any character
    return scheme + separator + ("***@" if user else "") + _BEYOND.sub(r"\1***", place)


def shown_text(text: str) -> str:
    """Return `text` with every URL redacted, and every path with a query; valid JSON stays valid.

    Libraries put such paths into messages without scheme and host.
    """
    if "?" not in text and "@" not in text:  # nearly always
        return text
    return _WORD.sub(lambda found: _shown_word(found[0]), text)


def _shown_word(word: str) -> str:
    scheme, path = word.find("://"), word.find("/")
    query = word.find("?", path) if path >= 0 else -1
    if scheme >= 0 and not 0 <= query < scheme:
        return shown_address(word)
    return word if query < 0 or query == len(word) - 1 else f"{word[: query + 1]}***"
