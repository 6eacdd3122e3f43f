"""Bearer tokens for /v1, where any are set."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.settings import AuthSettings

_BEARER = HTTPBearer(auto_error=False, description="One of SALIENCE_AUTH__TOKENS; not needed where none are set.")


class BearerAuth:
    """A dependency that lets a request pass if no tokens are set or it carries one of them. Raises Unauthorized.

    It takes no thread of the pool: a request without a token is refused at once, however busy the server is.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._accepted = [token.encode() for token in settings.accepted]

    async def __call__(self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if not self._accepted:
            return
        token = b"" if given is None else given.credentials.encode()
        # Compare with every token, so that the time taken says nothing about them.
        matches = [secrets.compare_digest(token, accepted) for accepted in self._accepted]
        if not any(matches):
            raise Unauthorized()
