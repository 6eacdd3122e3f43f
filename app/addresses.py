"""Redacts URLs for logs and messages: user and password, and the query and fragment, which may contain a key."""

from __future__ import annotations

import re

# Whole URLs, and paths with a query, which some libraries put into messages without scheme and host.
_WITHIN = re.compile(r"""(?i)[a-z][a-z0-9+.-]*://[^\s"'<>\x1b]+|/[^\s"'<>?\x1b]*\?[^\s"'<>\x1b]+""")
_BEYOND = re.compile("([?#]).*", re.DOTALL)


def shown_address(address: str) -> str:
    """Return `address` with asterisks in place of everything that may be a credential."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    _, user, place = rest.rpartition("@")  # at the last @: a password may contain any character
    return scheme + separator + ("***@" if user else "") + _BEYOND.sub(r"\1***", place)


def shown_text(text: str) -> str:
    """Return `text` with every URL in it redacted by `shown_address`."""
    if "?" not in text and "@" not in text:  # nearly always
        return text
    return _WITHIN.sub(lambda found: shown_address(found[0]), text)
