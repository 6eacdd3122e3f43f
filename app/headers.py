"""Reads a single request header from an ASGI scope, without building a mapping of all headers."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header named `name`, which must be in lower case; None if there is none."""
    for one, value in scope["headers"]:
        if one == name:
            return str(value, "latin-1")
    return None
