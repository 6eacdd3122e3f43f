"""The keys as a process knows them, while others make new ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.access import keyring
from app.access.caller import Caller
from app.access.keyring import KeyRing
from core.access import ApiKey, Rights, Role
from store.database import Database
from store.keys import add_key, rotate_key


def test_a_request_in_the_middle_of_a_refresh_finds_each_key_with_its_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(tmp_path / "keys")
    with database.write() as session:
        first, old = add_key(session, Rights(name="k", role=Role.SEARCH), now=time.time())
    ring = KeyRing(database, [])
    ring.refresh()
    with database.write() as session:
        _, new = rotate_key(session, first.id, overlap_seconds=60.0, now=time.time())
    meanwhile: list[Caller | None] = []
    accounts = keyring._accounts

    def asked(keys: Sequence[ApiKey]) -> dict[int, str]:
        meanwhile.extend((ring.caller(old), ring.caller(new)))
        return accounts(keys)

    monkeypatch.setattr(keyring, "_accounts", asked)
    ring.refresh(at_once=True)
    known, unknown = meanwhile
    assert known is not None
    assert unknown is None, "it comes with all that is read"
    found = ring.caller(new)
    assert found is not None
    assert found.account == known.account
