"""API keys: roles, rights and limits, and the format of a key.

A key is `sal_PREFIX_SECRET`. The prefix identifies the key and may be displayed. The secret is 256 random bits, of
which only a keyed digest is stored. A slow password hash would add nothing, since a random secret cannot be guessed.
The salt prevents the digests of two databases from being compared.
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
    """What a key may do. Each role includes the ones before it."""

    SEARCH = "search"  # read: search, explain, documents, embed
    INGEST = "ingest"  # also write documents
    ADMIN = "admin"  # also create, change, delete and reindex collections

    @classmethod
    def named(cls, name: str) -> Role:
        """The role called `name`. Raises InvalidSettings if there is none."""
        if name not in tuple(cls):
            raise InvalidSettings(f"role {name!r:.140}: must be one of {', '.join(cls)}", param="role")
        return cls(name)

    def may(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of one key; None means only the server's own limit. Raises InvalidSettings for a number below 1."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # tokens that models read for this key
    concurrent_searches: int | None = None
    body_bytes: int | None = None  # of one request
    collections: int | None = None  # number of collections visible to the key
    passages: int | None = None  # total over all collections visible to the key

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and value < 1:
                raise InvalidSettings(f"limit {limit.name} {value}: must be 1 or more", param=f"limits.{limit.name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """What a key may access. Raises InvalidSettings for invalid values or combinations."""

    name: str  # chosen by the key's owner
    role: Role
    tenant: str | None = None  # None: a key of the operator
    patterns: tuple[str, ...] = ()  # visible collections; empty: all of the tenant, or for the operator all there are
    rows: Filter | None = None  # visible documents of those collections; None: all
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
        """Whether the key has unrestricted access."""
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
    last_used_at: float | None  # accurate to a minute
    replaced_by: int | None  # id of the key that replaced it in a rotation; both work until this one expires

    def usable(self, now: float) -> bool:
        expires = self.rights.expires_at
        return self.revoked_at is None and (expires is None or now < expires)


class NewSecret(NamedTuple):
    token: str  # shown only once
    prefix: str
    salt: bytes
    digest: bytes


def new_secret() -> NewSecret:
    """A new random key."""
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    salt = secrets.token_bytes(_SALT_BYTES)
    return NewSecret(f"sal_{prefix}_{secret}", prefix, salt, digest_of(salt, secret))


def split_token(token: str) -> tuple[str, str]:
    """The prefix and secret of a key. For malformed text, placeholders of the same lengths that match no key."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else (_NOBODYS_PREFIX, _NOBODYS_SECRET)


def digest_of(salt: bytes, secret: str) -> bytes:
    """HMAC-SHA-256 of the secret, keyed with the salt."""
    return hmac.digest(salt, secret.encode(), hashlib.sha256)
