"""Who may do what: roles, keys and their limits, and what a key looks like.

A key is `sal_PREFIX_SECRET`. The prefix finds it and is shown; of the secret, 256 random bits, only a keyed digest is
stored. A slow password hash would be of no use: there is nothing to guess. The salt keeps two databases from being
compared.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

from core.errors import InvalidSettings
from core.filters import Filter, filter_json
from core.naming import check_pattern, check_tenant
from core.unicode import is_unicode

_TOKEN = re.compile(r"sal_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_NOBODYS_PREFIX, _NOBODYS_SECRET = "-" * 12, "-" * 43
_SALT_BYTES = 16
_MAX_NAME = 200  # characters
_MAX_PATTERNS = 100


class Role(StrEnum):
    """What a key may do. Each may do what those before it may."""

    SEARCH = "search"  # read: search, explain, documents, embed
    INGEST = "ingest"  # and write documents
    ADMIN = "admin"  # and make, change, delete and index collections anew

    @classmethod
    def named(cls, name: str) -> Role:
        """Raises InvalidSettings for what is no role."""
        if name not in tuple(cls):
            raise InvalidSettings(f"role {name!r:.140}: must be one of {', '.join(cls)}", param="role")
        return cls(name)

    def may(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of one key; None: no limit but the server's own. Raises InvalidSettings for a number below 1."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # that models read for it
    concurrent_searches: int | None = None
    body_bytes: int | None = None  # of one request
    collections: int | None = None  # in all that the key sees
    passages: int | None = None  # in all that the key sees

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and value < 1:
                raise InvalidSettings(f"limit {limit.name} {value}: must be 1 or more", param=f"limits.{limit.name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """What a key is made for. Raises InvalidSettings where it could not be meant."""

    name: str  # what its owner calls it
    role: Role
    tenant: str | None = None  # None: the operator's own
    patterns: tuple[str, ...] = ()  # of collections that it sees; empty: all of its tenant's, or of the operator's all
    rows: Filter | None = None  # documents that it sees, of those collections; None: all
    limits: Limits = field(default_factory=Limits)
    expires_at: float | None = None  # seconds since 1970

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= _MAX_NAME and self.name.isprintable()):
            raise InvalidSettings(
                f"key name {self.name!r:.140}: must be 1 to {_MAX_NAME} printable characters", param="name"
            )
        if self.expires_at is not None and not math.isfinite(self.expires_at):
            raise InvalidSettings(f"expires_at {self.expires_at}: must be a time", param="expires_at")
        if self.tenant is not None:
            check_tenant(self.tenant)
        if len(self.patterns) > _MAX_PATTERNS:
            raise InvalidSettings(f"{len(self.patterns)} patterns; at most {_MAX_PATTERNS} are allowed")
        for pattern in self.patterns:
            check_pattern(pattern, tenant=self.tenant)
        if self.rows is not None and not is_unicode(json.dumps(filter_json(self.rows), ensure_ascii=False)):
            raise InvalidSettings("the row filter holds half a surrogate pair, which no text can", param="filter")
        if self.rows is not None and self.role is Role.ADMIN:
            raise InvalidSettings(
                "a row filter goes with the roles search and ingest: whoever may delete a collection or reindex it "
                "acts on all of its documents",
                param="filter",
            )

    @property
    def operator(self) -> bool:
        """Whether the key may do all that there is to do."""
        return self.role is Role.ADMIN and self.tenant is None and not self.patterns


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key as it is stored. Times are seconds since 1970."""

    id: int
    prefix: str
    salt: bytes
    digest: bytes
    rights: Rights
    created_at: float
    revoked_at: float | None
    last_used_at: float | None  # within a minute
    replaced_by: int | None  # the key that it was rotated to; until it expires, both are good

    def usable(self, now: float) -> bool:
        expires = self.rights.expires_at
        return self.revoked_at is None and (expires is None or now < expires)


class NewSecret(NamedTuple):
    token: str  # to be shown once
    prefix: str
    salt: bytes
    digest: bytes


def new_secret() -> NewSecret:
    """A key that nobody had before."""
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    salt = secrets.token_bytes(_SALT_BYTES)
    return NewSecret(f"sal_{prefix}_{secret}", prefix, salt, digest_of(salt, secret))


def split_token(token: str) -> tuple[str, str]:
    """Prefix and secret. Of a text that is no key, some that are of no key, of the same lengths."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else (_NOBODYS_PREFIX, _NOBODYS_SECRET)


def digest_of(salt: bytes, secret: str) -> bytes:
    """HMAC-SHA-256 of the secret, the salt being the key."""
    return hmac.digest(salt, secret.encode(), hashlib.sha256)
