"""API keys: create, rotate, revoke and read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from core.access import ApiKey, Limits, Rights, Role, new_secret
from core.errors import Conflict, InvalidSettings, KeyNotFound, LastAdminKey
from core.filters import filter_json, parse_filter
from core.unicode import is_unicode
from store import schema
from store.database import ReadSession, WriteSession

_MAX_OVERLAP_SECONDS = 365 * 86_400
_key = schema.api_key.c


def add_key(session: WriteSession, rights: Rights, *, now: float) -> tuple[ApiKey, str]:
    """Create a key. Returns it and its token, which is not stored and cannot be shown again.

    Raises InvalidSettings where it would already have expired.
    """
    if rights.expires_at is not None and rights.expires_at <= now:
        raise InvalidSettings("a key that expires in the past would never be good for anything", param="expires_at")
    made = new_secret()
    row = {
        "prefix": made.prefix,
        "salt": made.salt,
        "digest": made.digest,
        "name": rights.name,
        "tenant": rights.tenant,
        "role": rights.role.value,
        "patterns": json.dumps(rights.patterns),
        "rows": None if rights.rows is None else json.dumps(filter_json(rights.rows)),
        "limits": json.dumps(asdict(rights.limits)),
        "created_at": now,
        "expires_at": rights.expires_at,
        "revision": keys_revision(session) + 1,
    }
    inserted = session.execute(sa.insert(schema.api_key), row).inserted_primary_key
    assert inserted is not None
    return get_key(session, int(inserted[0])), made.token


def get_key(session: ReadSession, key: int | str) -> ApiKey:
    """The key with this id or prefix. Raises KeyNotFound."""
    column = _key.prefix if isinstance(key, str) else _key.id
    fits = is_unicode(key) if isinstance(key, str) else 0 < key <= schema.MAX_ID  # SQLite takes no others
    row = session.execute(sa.select(schema.api_key).where(column == key)).first() if fits else None
    if row is None:
        raise KeyNotFound(
            f"there is no key {key!r:.140}; GET /v1/admin/keys (salience key list) lists the keys", param="key"
        )
    return _key_of(row)


def list_keys(session: ReadSession) -> list[ApiKey]:
    """Every key ever made, the oldest first."""
    return [_key_of(row) for row in session.execute(sa.select(schema.api_key).order_by(_key.id))]


def keys_revision(session: ReadSession) -> int:
    """A number that grows with every key that is made, rotated or revoked; 0: there never was a key."""
    return int(session.execute(sa.select(sa.func.coalesce(sa.func.max(_key.revision), 0))).scalar_one())


def rotate_key(session: WriteSession, key_id: int, *, overlap_seconds: float, now: float) -> tuple[ApiKey, str]:
    """Create a key with the same rights. Returns it and its token.

    The old key stays valid for `overlap_seconds`, but not beyond its own expiry.
    The new key expires when the old one would have. Raises KeyNotFound, InvalidSettings, and Conflict for a key that
    was rotated, revoked, or has expired.
    """
    old = get_key(session, key_id)
    if not 0 <= overlap_seconds <= _MAX_OVERLAP_SECONDS:
        raise InvalidSettings(
            f"overlap_seconds {overlap_seconds:g}: must be 0 to {_MAX_OVERLAP_SECONDS}", param="overlap_seconds"
        )
    if not old.usable(now) or old.replaced_by is not None:
        state = "was rotated already" if old.usable(now) else "is no longer good"
        raise Conflict(f"key {old.prefix} {state}; make a new one, or rotate the one that took its place", param="key")
    made, token = add_key(session, old.rights, now=now)
    ends = now + overlap_seconds
    if old.rights.expires_at is not None:
        ends = min(ends, old.rights.expires_at)
    _change(session, old.id, expires_at=ends, replaced_by=made.id)
    return made, token


def revoke_key(session: WriteSession, key_id: int, *, now: float, others: bool = False) -> ApiKey:
    """Revoke the key at once. Revoking twice is no error.

    `others`: whether there are other ways to administrate, such as tokens in the settings. Raises KeyNotFound, and
    LastAdminKey where without this key nobody could administrate.
    """
    key = get_key(session, key_id)
    if key.revoked_at is not None:
        return key
    if key.rights.operator and key.usable(now) and not others:
        left = [other for other in list_keys(session) if other.id != key.id and other.usable(now)]
        if not any(other.rights.operator and other.replaced_by is None for other in left):
            raise LastAdminKey(
                f"key {key.prefix} is the last one that may do everything; make another one first: "
                "salience key create NAME --role admin",
                param="key",
            )
    _change(session, key.id, revoked_at=now)
    return get_key(session, key.id)


def note_use(session: WriteSession, used: Mapping[int, float]) -> None:
    """Record when keys were last used, by id. The revision stays, as their rights do not change."""
    for key_id, at in used.items():
        newer = sa.func.max(sa.func.coalesce(_key.last_used_at, at), at)
        session.execute(sa.update(schema.api_key).where(_key.id == key_id).values(last_used_at=newer))


def _change(session: WriteSession, key_id: int, **values: Any) -> None:
    changed = {**values, "revision": keys_revision(session) + 1}
    session.execute(sa.update(schema.api_key).where(_key.id == key_id).values(**changed))


def _key_of(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        prefix=row.prefix,
        salt=row.salt,
        digest=row.digest,
        rights=Rights(
            name=row.name,
            role=Role(row.role),
            tenant=row.tenant,
            patterns=tuple(json.loads(row.patterns)),
            rows=None if row.rows is None else parse_filter(json.loads(row.rows)),
            limits=Limits(**json.loads(row.limits)),
            expires_at=row.expires_at,
        ),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        replaced_by=row.replaced_by,
    )
