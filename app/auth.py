"""Bearer tokens for /v1, where any are set."""

from __future__ import annotations

import secrets

from fastapi import Request
from fastapi.security.utils import get_authorization_scheme_param

from app.errors import Unauthorized
from app.settings import AuthSettings


class BearerAuth:
    """A dependency that lets a request pass if no tokens are set or it carries one of them. Raises Unauthorized."""

    def __init__(self, settings: AuthSettings) -> None:
        self._accepted = [token.encode() for token in settings.accepted]

    def __call__(self, request: Request) -> None:
        if not self._accepted:
            return
        scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
        # Compare with every token, so that the time taken says nothing about them.
        matches = [secrets.compare_digest(token.encode(), accepted) for accepted in self._accepted]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized()
