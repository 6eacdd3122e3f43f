"""Authentication of signed requests, where the settings have signing keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from core.errors import InvalidSignature
from core.signing import Authorization, SignableRequest, parse_authorization, verify, verify_headers

NOBODYS_ACCOUNT = ""  # the only account if there are no signing keys
_DEFAULT_PORTS = (":80", ":443")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SignatureAuth:
    """Verifies the signatures of requests by pairs of access key and secret key. Thread-safe."""

    def __init__(
        self, secret_keys: Mapping[str, str], *, guarded: bool = False, now: Callable[[], datetime] = _utc_now
    ) -> None:
        """`secret_keys`: by access key. If there are none, every request passes, or with `guarded` none does.

        `now`: returns an aware datetime.
        """
        self._secret_keys = dict(secret_keys)
        self._guarded = guarded
        self._now = now
        self._nobodys_key = secrets.token_hex(32)

    @property
    def needed(self) -> bool:
        """Whether requests must be signed."""
        return bool(self._secret_keys)

    def account(self, request: Request, body: bytes) -> str:
        """Return the access key that signed the request, or NOBODYS_ACCOUNT if there are no signing keys.

        Raises InvalidSignature. An unknown access key is verified against a random secret, so that it fails with the
        same message and in the same time as a wrong secret.
        """
        authorization = self._authorization(request)
        if authorization is None:
            return NOBODYS_ACCOUNT
        access_key = authorization.scope.access_key
        verify(_signable(request, body), authorization, self._secret_key(access_key), now=self._now())
        return access_key

    def check_headers(self, request: Request) -> None:
        """Check as much of the signature as is possible before the body is read. Raises InvalidSignature."""
        authorization = self._authorization(request)
        if authorization is not None:
            verify_headers(_headers(request), authorization, now=self._now())

    def _authorization(self, request: Request) -> Authorization | None:
        """Parse the Authorization header; None if signatures are not required. Raises InvalidSignature."""
        if not self._secret_keys:
            if self._guarded:
                raise InvalidSignature("no signing keys are set here, so nobody can sign: set SALIENCE_AUTH__HMAC_KEYS")
            return None
        if "authorization" not in request.headers:
            raise InvalidSignature("the request must be signed: send the headers Authorization and X-Date")
        return parse_authorization(request.headers["authorization"])

    def _secret_key(self, access_key: str) -> str:
        return self._secret_keys.get(access_key, self._nobodys_key)


def _headers(request: Request) -> dict[str, str]:
    headers = dict(request.headers)
    for port in _DEFAULT_PORTS:  # clients sign the host without these ports, and may send it with them
        headers["host"] = headers.get("host", "").removesuffix(port)
    return headers


def _signable(request: Request, body: bytes) -> SignableRequest:
    return SignableRequest(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        headers=_headers(request),
        body=body,
        query=parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True),
    )
