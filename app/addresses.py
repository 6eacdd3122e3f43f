"""Addresses as they may be shown: without the user and the password, and without a query, which may hold a key."""

from __future__ import annotations

import re

# Whole addresses, and what is left of one in the messages of some libraries: a path with its query.
_WITHIN = re.compile(r"""(?i)[a-z][a-z0-9+.-]*://[^\s"'<>\x1b]+|/[^\s"'<>?\x1b]*\?[^\s"'<>\x1b]+""")
_BEYOND = re.compile("([?#]).*", re.DOTALL)


def shown_address(address: str) -> str:
    """`address` with asterisks for whatever may let its caller in."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    _, user, place = rest.rpartition("@")  # the last one: a password may hold any sign
    return scheme + separator + ("***@" if user else "") + _BEYOND.sub(r"\1***", place)


def shown_text(text: str) -> str:
    """`text` with every address in it as `shown_address` has it."""
    if "?" not in text and "@" not in text:  # nearly always
        return text
    return _WITHIN.sub(lambda found: shown_address(found[0]), text)
