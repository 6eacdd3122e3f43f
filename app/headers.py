"""A request's header, without a mapping made of all of them."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name, which is in small letters; None: there is none."""
    for one, value in scope["headers"]:
        if one == name:
            return str(value, "latin-1")
    return None
