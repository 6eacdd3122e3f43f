"""Request signatures of the VikingDB API: HMAC-SHA256 over a canonical form of the request.

All functions are pure, and shared by the client, which signs, and the server, which verifies. The canonical form has
one part per line:

    METHOD
    path
    query                           sorted, RFC 3986 quoted
    name:value                      one line for each signed header, sorted by name; a blank line ends them
    name;name                       the signed headers
    hex(sha256(body))
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from core.errors import InvalidSignature

ALGORITHM = "HMAC-SHA256"
MAX_SKEW = timedelta(minutes=15)  # between the request's X-Date and the server's clock
SIGNED_HEADERS = ("content-type", "host", "x-content-sha256", "x-date")
REQUIRED_HEADERS = ("host", "x-date")  # must be signed, else a request could be replayed to other hosts, and forever
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=(?P<credential>[^,\s]+) *, *SignedHeaders=(?P<headers>[^,\s]+) *, *"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignableRequest:
    """The parts of an HTTP request that a signature covers."""

    method: str
    path: str  # as it stands in the request line, without the query
    headers: Mapping[str, str]  # by lower-case name
    body: bytes = b""
    query: Sequence[tuple[str, str]] = ()  # decoded names and values, in any order


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialScope:
    """The scope that a signature is valid for."""

    access_key: str
    date: str  # YYYYMMDD, UTC
    region: str
    service: str

    def __str__(self) -> str:
        """`date/region/service/request`, the form that is signed."""
        return f"{self.date}/{self.region}/{self.service}/request"


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorization:
    """The Authorization header of a signed request."""

    scope: CredentialScope
    signed_headers: tuple[str, ...]  # lower case
    signature: str  # hex

    def __str__(self) -> str:
        """The header's value."""
        return (
            f"{ALGORITHM} Credential={self.scope.access_key}/{self.scope}, "
            f"SignedHeaders={';'.join(self.signed_headers)}, Signature={self.signature}"
        )


def signed_headers(
    request: SignableRequest, *, access_key: str, secret_key: str, region: str, service: str, now: datetime
) -> dict[str, str]:
    """The headers that sign a request: X-Date, X-Content-Sha256 and Authorization.

    `request.headers` must hold `host` and `content-type`; `now` is an aware time. The host includes the port,
    except 80 and 443.
    """
    date = now.astimezone(UTC).strftime(_DATE_FORMAT)
    stamps = {"X-Date": date, "X-Content-Sha256": hashlib.sha256(request.body).hexdigest()}
    stamped = SignableRequest(
        method=request.method,
        path=request.path,
        query=request.query,
        body=request.body,
        headers={**request.headers, **{name.lower(): value for name, value in stamps.items()}},
    )
    scope = CredentialScope(access_key=access_key, date=date[:8], region=region, service=service)
    signature = sign(stamped, scope, SIGNED_HEADERS, secret_key)
    authorization = Authorization(scope=scope, signed_headers=SIGNED_HEADERS, signature=signature)
    return {**stamps, "Authorization": str(authorization)}


def verify(request: SignableRequest, authorization: Authorization, secret_key: str, *, now: datetime) -> None:
    """Raises InvalidSignature unless `secret_key` signed the request, within 15 minutes of `now` (an aware time).

    The body is hashed again; the X-Content-Sha256 header is not trusted.
    """
    verify_headers(request.headers, authorization, now=now)
    expected = sign(request, authorization.scope, authorization.signed_headers, secret_key)
    if not hmac.compare_digest(expected, authorization.signature):
        raise InvalidSignature("the signature does not fit the request and the secret key")


def verify_headers(headers: Mapping[str, str], authorization: Authorization, *, now: datetime) -> None:
    """The checks of `verify` that do not need the body. Raises InvalidSignature."""
    missing = [name for name in REQUIRED_HEADERS if name not in authorization.signed_headers]
    if missing:
        raise InvalidSignature(f"the signature must cover the header {missing[0]}")
    absent = [name for name in authorization.signed_headers if name not in headers]
    if absent:
        raise InvalidSignature(f"the signed header {absent[0]!r:.60} is not in the request")
    stamp = headers["x-date"]
    if abs(_parsed_date(stamp) - now) > MAX_SKEW:
        raise InvalidSignature(f"X-Date {stamp} is more than 15 minutes from the server's clock: set the clock")
    if authorization.scope.date != stamp[:8]:
        raise InvalidSignature("the date of the credential is not that of X-Date")


def parse_authorization(value: str) -> Authorization:
    """The parts of an Authorization header. Raises InvalidSignature if it is malformed."""
    match = _AUTHORIZATION.fullmatch(value.strip())
    parts = match["credential"].split("/") if match is not None else []
    if match is None or len(parts) != 5 or not all(parts) or parts[4] != "request":
        raise InvalidSignature(
            f"the Authorization header must read: {ALGORITHM} Credential=KEY/YYYYMMDD/REGION/SERVICE/request, "
            "SignedHeaders=host;x-date, Signature=HEX"
        )
    access_key, date, region, service, _ = parts
    return Authorization(
        scope=CredentialScope(access_key=access_key, date=date, region=region, service=service),
        signed_headers=tuple(name.lower() for name in match["headers"].split(";")),
        signature=match["signature"],
    )


def sign(request: SignableRequest, scope: CredentialScope, headers: Sequence[str], secret_key: str) -> str:
    """The signature (hex) of a request whose `x-date` header is set, over the given headers (lower case)."""
    canonical = canonical_request(request, headers)
    text = "\n".join([ALGORITHM, request.headers["x-date"], str(scope), _sha256(canonical.encode("utf-8"))])
    key = secret_key.encode("utf-8")
    for part in (scope.date, scope.region, scope.service, "request"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()


def canonical_request(request: SignableRequest, headers: Sequence[str]) -> str:
    """The canonical form of a request with these signed headers (lower case); see the module's docstring."""
    names = sorted(headers)
    lines = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    parts = (request.method.upper(), request.path or "/", canonical_query(request.query), lines, ";".join(names))
    return "\n".join([*parts, _sha256(request.body)])


def canonical_query(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values quoted by RFC 3986 (a space becomes %20, a tilde stays), sorted by name, then value."""
    return "&".join(
        f"{name}={value}" for name, value in sorted((_quoted(name), _quoted(value)) for name, value in pairs)
    )


def _parsed_date(stamp: str) -> datetime:
    """The time of an X-Date header; strptime alone would also take shorter forms."""
    try:
        if _DATE.fullmatch(stamp):
            return datetime.strptime(stamp, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:  # such as a month 13; raised below
        pass
    raise InvalidSignature(f"X-Date {stamp!r:.40} must be a time in UTC such as 20240429T105032Z")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).digest()
