"""Making, rotating and revoking keys, each noted in the audit log in the transaction that does it."""

from __future__ import annotations

import time

from core.access import ApiKey, Rights
from core.errors import SalienceError
from store.audit import note_action
from store.database import Database
from store.keys import add_key, get_key, revoke_key, rotate_key


def create(database: Database, who: str, rights: Rights) -> tuple[ApiKey, str]:
    """A new key and its text. Raises InvalidSettings where it has expired already."""
    now = time.time()
    with database.write() as session:
        key, token = add_key(session, rights, now=now)
        note_action(session, at=now, who=who, action="key.create", target=key.prefix)
    return key, token


def rotate(database: Database, who: str, key: int | str, overlap_seconds: float) -> tuple[ApiKey, str]:
    """The key that takes its place, and its text; `key`: an id or a prefix. Raises as store.keys.rotate_key does."""
    now = time.time()
    with database.write() as session:
        old = get_key(session, key)
        made, token = rotate_key(session, old.id, overlap_seconds=overlap_seconds, now=now)
        note_action(session, at=now, who=who, action="key.rotate", target=old.prefix)
    return made, token


def revoke(database: Database, who: str, key: int | str, *, others: bool) -> ApiKey:
    """The key, which is good for nothing now. Raises as store.keys.revoke_key does, and notes that it was refused."""
    now = time.time()
    refused: SalienceError | None = None
    with database.write() as session:
        found = get_key(session, key)
        try:
            found = revoke_key(session, found.id, now=now, others=others)
        except SalienceError as error:  # before it changed anything: the note alone is committed
            refused = error
        outcome = {} if refused is None else {"outcome": refused.code}
        note_action(session, at=now, who=who, action="key.revoke", target=found.prefix, **outcome)
    if refused is not None:
        raise refused
    return found
