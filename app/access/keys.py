"""Making, rotating and revoking keys, each noted in the audit log in the transaction that does it, or as refused."""

from __future__ import annotations

import time
from contextlib import suppress

from app.access.auditing import NO_NAME, audited_write, failure_noted
from core.access import ApiKey, Rights
from core.errors import KeyNotFound
from store.audit import note_action
from store.database import Database
from store.keys import add_key, get_key, revoke_key, rotate_key

NEW = "new"  # what a key is called in the audit log that was not made


def create(database: Database, who: str, rights: Rights) -> tuple[ApiKey, str]:
    """A new key and its text. Raises InvalidSettings where it has expired already."""
    now = time.time()
    with failure_noted(database, who, "key.create", NEW), database.write() as session:
        key, token = add_key(session, rights, now=now)
        note_action(session, at=now, who=who, action="key.create", target=key.prefix)
    return key, token


def rotate(database: Database, who: str, key: int | str, overlap_seconds: float) -> tuple[ApiKey, str]:
    """The key that takes its place, and its text; `key`: an id or a prefix. Raises as store.keys.rotate_key does."""
    with audited_write(database, who, "key.rotate", _name(database, key)) as session:
        old = get_key(session, key)
        return rotate_key(session, old.id, overlap_seconds=overlap_seconds, now=time.time())


def revoke(database: Database, who: str, key: int | str, *, others: bool) -> ApiKey:
    """The key, which is good for nothing now. Raises as store.keys.revoke_key does."""
    with audited_write(database, who, "key.revoke", _name(database, key)) as session:
        found = get_key(session, key)
        return revoke_key(session, found.id, now=time.time(), others=others)


def _name(database: Database, key: int | str) -> str:
    """In the audit log: the prefix; of what is no key's, the id alone, as a text may be a whole key with its secret."""
    with suppress(KeyNotFound), database.read() as session:
        return get_key(session, key).prefix
    return str(key) if isinstance(key, int) else NO_NAME
