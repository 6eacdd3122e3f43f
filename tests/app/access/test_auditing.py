"""What the audit log says where it cannot be written to: nobody repeats what is done, and nothing is done twice."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import StorageBusy
from tests.app.access.conftest import House
from tests.app.answers import error_of

COLLECTIONS = "/v1/collections"


def outcomes(house: House, action: str) -> list[str]:
    """The newest first."""
    actions = house.ask(house.operator, "GET", "/v1/admin/audit").json()["actions"]
    return [one["outcome"] for one in actions if one["action"] == action]


def busy(*_: Any, **__: Any) -> None:
    raise StorageBusy("another process holds the lock")


def test_what_is_done_and_cannot_be_noted_is_answered_and_logged(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("app.access.auditing.note_action", busy)
        assert house.ask(house.operator, "POST", COLLECTIONS, json={"name": "docs"}).status_code == 201
        again = house.ask(house.operator, "POST", COLLECTIONS, json={"name": "docs"})
        assert error_of(again, 409)["code"] == "collection_exists", "what was wrong, not that it could not be noted"
    [done, refused] = [record.getMessage() for record in caplog.records if "audit log" in record.getMessage()]
    assert "collection.create 'docs': done; another process" in done
    assert "collection.create 'docs': collection_exists; another process" in refused
    assert house.operator not in caplog.text
    assert outcomes(house, "collection.create") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("DELETE", f"{COLLECTIONS}/docs", None, "collection.delete"),
        ("PATCH", f"{COLLECTIONS}/docs", {"settings": {"b": 0.1}}, "collection.change"),
        ("PUT", "/v1/admin/aliases/current", {"collection": "docs"}, "alias.set"),
    ],
)
def test_what_cannot_be_noted_with_its_deed_is_not_done(
    house: House, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any, action: str
) -> None:
    house.collection(house.operator, "docs")
    before = house.ask(house.operator, "GET", f"{COLLECTIONS}/docs").json()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("app.access.auditing.note_action", busy)
        assert house.ask(house.operator, method, path, json=body).status_code == 503
    assert house.ask(house.operator, "GET", f"{COLLECTIONS}/docs").json() == before
    assert house.ask(house.operator, "GET", "/v1/admin/aliases").json() == {"aliases": []}
    assert house.ask(house.operator, method, path, json=body).status_code in (200, 204)
    assert outcomes(house, action) == ["done"]
    assert house.ask(house.operator, "DELETE", f"{COLLECTIONS}/none").status_code == 404
    assert outcomes(house, "collection.delete")[0] == "collection_not_found"


def test_a_reindex_that_is_switched_and_cannot_be_read_is_noted_as_switched(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.collection(house.operator, "docs")
    monkeypatch.setattr("app.reindexes.switch", lambda parts, name: None)
    monkeypatch.setattr("app.reindexes.look", busy)
    path = "/v1/admin/collections/docs/reindex/switch"
    assert error_of(house.ask(house.operator, "POST", path), 503)["code"] == "storage_busy"
    assert outcomes(house, "reindex.switch") == ["done"]
