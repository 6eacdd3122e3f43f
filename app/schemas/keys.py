"""The JSON of keys and of the audit log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field

from app.schemas.base import RequestModel, ResponseModel, time_text
from core.access import ApiKey, Limits, Rights, Role
from core.errors import InvalidSettings
from core.filters import filter_json, parse_filter
from store.audit import Action

_Limit = int | None


class LimitsBody(RequestModel):
    """The limits of one key; null: only the server's own limits apply."""

    requests_per_minute: _Limit = Field(None, description="requests that are answered in any minute", le=2**53)
    tokens_per_minute: _Limit = Field(None, description="tokens that models read for the key in any minute", le=2**53)
    concurrent_searches: _Limit = Field(None, description="searches and explanations at once", le=2**53)
    body_bytes: _Limit = Field(None, description="of one request", le=2**53)
    collections: _Limit = Field(None, description="of those that the key sees", le=2**53)
    passages: _Limit = Field(None, description="in the collections that the key sees", le=2**53)

    def to_limits(self) -> Limits:
        """The limits. Raises InvalidSettings for a number below 1."""
        return Limits(**self.model_dump())


class CreateKey(RequestModel):
    name: str = Field(description="what you call it", examples=["web shop"])
    role: str = Field(
        description="search: read; ingest: and write documents; admin: and make, change and delete collections",
        examples=["search"],
    )
    tenant: str | None = Field(
        None, description="the key sees this tenant's collections, and nobody else's; null: the operator's own"
    )
    collections: list[str] = Field(
        default_factory=list,
        description="names or patterns (docs-*) of the collections that it sees; empty: all",
        examples=[["docs-*"]],
    )
    filter: dict[str, Any] | str | None = Field(
        None, description="conditions on metadata: the key sees documents that satisfy them, as if there were no others"
    )
    limits: LimitsBody = Field(LimitsBody(), description="what the key may use; null in each: no limit of its own")
    expires_at: str | None = Field(
        None,
        description="until then it is valid; a date or a time by ISO 8601, in UTC unless it names a zone",
        examples=["2031-01-01", "2031-01-01T12:00:00+01:00"],
    )

    def to_rights(self) -> Rights:
        """The rights of the key. Raises InvalidSettings and InvalidFilter."""
        return Rights(
            name=self.name,
            role=Role.named(self.role),
            tenant=self.tenant,
            patterns=tuple(self.collections),
            rows=None if self.filter is None else parse_filter(self.filter),
            limits=self.limits.to_limits(),
            expires_at=None if self.expires_at is None else seconds_of(self.expires_at),
        )


class RotateKey(RequestModel):
    overlap_seconds: float = Field(3600.0, description="for which the old key stays valid")


class KeyLimitsBody(ResponseModel):
    requests_per_minute: _Limit = Field(description="null: no limit")
    tokens_per_minute: _Limit = Field(description="tokens that models read; null: no limit")
    concurrent_searches: _Limit = Field(description="null: no limit")
    body_bytes: _Limit = Field(description="bytes of one request; null: no limit")
    collections: _Limit = Field(description="null: no limit")
    passages: _Limit = Field(description="null: no limit")


class KeyBody(ResponseModel):
    """A key, without its secret."""

    id: int = Field(description="number of the key")
    prefix: str = Field(description="what the key begins with, behind sal_")
    name: str = Field(description="what it was called")
    role: Literal["search", "ingest", "admin"] = Field(description="search, ingest or admin")
    tenant: str | None = Field(description="whose collections it sees; null: the operator's own")
    collections: list[str] = Field(description="names or patterns of those that it sees; empty: all")
    filter: Any = Field(description="JSON of the row filter; null: the key sees all documents")
    limits: KeyLimitsBody = Field(description="what it may use")
    usable: bool = Field(description="whether it is valid now: neither revoked nor expired")
    created_at: str = Field(description="ISO 8601, in UTC")
    expires_at: str | None = Field(description="ISO 8601, in UTC; null: never")
    revoked_at: str | None = Field(description="ISO 8601, in UTC; null: it was not")
    last_used_at: str | None = Field(description="within a minute or two; null: never")
    replaced_by: int | None = Field(description="id of the key that it was rotated to")

    @classmethod
    def of(cls, key: ApiKey, *, now: float) -> Self:
        return cls.model_validate(_described(key, now))


class NewKeyBody(KeyBody):
    """A key with its secret, which is never shown again."""

    key: str = Field(description="to be sent as Authorization: Bearer KEY; only a digest of it is kept")

    @classmethod
    def made(cls, key: ApiKey, token: str, *, now: float) -> Self:
        return cls.model_validate({**_described(key, now), "key": token})


class KeyList(ResponseModel):
    keys: list[KeyBody] = Field(description="every key that was ever made, without secrets")


class ActionBody(ResponseModel):
    id: int = Field(description="number of the action")
    at: str = Field(description="ISO 8601, in UTC")
    who: str = Field(description="key PREFIX, token (of the settings), anonymous, or local command")
    action: str = Field(examples=["collection.delete"], description="what was done, as OBJECT.VERB")
    target: str = Field(description="a collection, or a key's prefix")
    outcome: str = Field(description="done, or the code of the error")

    @classmethod
    def of(cls, action: Action) -> Self:
        return cls.model_validate({**asdict(action), "at": time_text(action.at)})


class AuditLog(ResponseModel):
    actions: list[ActionBody] = Field(description="the newest first")
    next: int | None = Field(description="pass it as `before` for the next page; null: this is the last one")


def seconds_of(given: str) -> float:
    """Parse a date or a time (UTC unless it has an offset) as seconds since 1970. Raises InvalidSettings."""
    try:
        time = datetime.fromisoformat(given)
        seconds = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
        time_text(seconds)  # raises if its year in UTC is not from 1 to 9999
    except (ValueError, OverflowError):
        raise InvalidSettings(
            f"expires_at {given!r:.140}: must be a date or a time such as 2031-01-31 or 2031-01-31T12:00:00Z",
            param="expires_at",
        ) from None
    return seconds


def _described(key: ApiKey, now: float) -> dict[str, Any]:
    rights = key.rights
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": rights.name,
        "role": rights.role.value,
        "tenant": rights.tenant,
        "collections": list(rights.patterns),
        "filter": None if rights.rows is None else filter_json(rights.rows),
        "limits": asdict(rights.limits),
        "usable": key.usable(now),
        "created_at": time_text(key.created_at),
        "expires_at": None if rights.expires_at is None else time_text(rights.expires_at),
        "revoked_at": None if key.revoked_at is None else time_text(key.revoked_at),
        "last_used_at": None if key.last_used_at is None else time_text(key.last_used_at),
        "replaced_by": key.replaced_by,
    }
