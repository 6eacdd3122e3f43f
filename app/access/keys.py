"""Creates, rotates and revokes API keys, with an audit entry in the same transaction, or one for the failure."""

from __future__ import annotations

import time
from contextlib import suppress

from app.access.auditing import NO_NAME, audited_write, failure_noted
from core.access import ApiKey, Rights
from core.errors import KeyNotFound
from store.audit import note_action
from store.database import Database
from store.keys import add_key, get_key, revoke_key, rotate_key

NEW = "new"  # target in the audit log of a key whose creation failed


def create(database: Database, who: str, rights: Rights) -> tuple[ApiKey, str]:
    """Create a key; returns it and its token. Raises InvalidSettings if it has already expired."""
    now = time.time()
    with failure_noted(database, who, "key.create", NEW), database.write() as session:
        key, token = add_key(session, rights, now=now)
        note_action(session, at=now, who=who, action="key.create", target=key.prefix)
    return key, token


def rotate(database: Database, who: str, key: int | str, overlap_seconds: float) -> tuple[ApiKey, str]:
    """Replace the key with this id or prefix; returns the new key and its token. Raises as store.keys.rotate_key."""
    with audited_write(database, who, "key.rotate", _name(database, key)) as session:
        old = get_key(session, key)
        return rotate_key(session, old.id, overlap_seconds=overlap_seconds, now=time.time())


def revoke(database: Database, who: str, key: int | str, *, others: bool) -> ApiKey:
    """Revoke the key with this id or prefix, and return it. Raises as store.keys.revoke_key."""
    with audited_write(database, who, "key.revoke", _name(database, key)) as session:
        found = get_key(session, key)
        return revoke_key(session, found.id, now=time.time(), others=others)


def _name(database: Database, key: int | str) -> str:
    """Return the name of a key for the audit log: its prefix.

    Of an unknown key only an id is logged, since a text may be a whole key including its secret.
    """
    with suppress(KeyNotFound), database.read() as session:
        return get_key(session, key).prefix
    return str(key) if isinstance(key, int) else NO_NAME
