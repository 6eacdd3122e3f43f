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


def test_what_is_refused_of_keys_is_noted(house: House) -> None:
    made = house.made("search")
    path = f"/v1/admin/keys/{made['id']}"
    late = {"name": "k", "role": "search", "expires_at": "2001-01-01"}
    assert house.ask(house.operator, "POST", "/v1/admin/keys", json=late).status_code == 400
    assert house.ask(house.operator, "POST", f"{path}/rotate", json={"overlap_seconds": -1}).status_code == 400
    assert house.ask(house.operator, "DELETE", path).status_code == 200
    assert house.ask(house.operator, "POST", f"{path}/rotate", json={}).status_code == 409
    assert house.ask(house.operator, "POST", "/v1/admin/keys/77/rotate", json={}).status_code == 404
    assert house.ask(house.operator, "DELETE", "/v1/admin/keys/77").status_code == 404
    noted = house.ask(house.operator, "GET", "/v1/admin/audit", params={"limit": 6}).json()["actions"]
    assert [(one["action"], one["target"], one["outcome"]) for one in reversed(noted)] == [
        ("key.create", "new", "invalid_settings"),
        ("key.rotate", made["prefix"], "invalid_settings"),
        ("key.revoke", made["prefix"], "done"),
        ("key.rotate", made["prefix"], "conflict"),
        ("key.rotate", "77", "key_not_found"),
        ("key.revoke", "77", "key_not_found"),
    ]


def test_what_could_not_be_a_name_is_not_written_down(house: House) -> None:
    text = "a text that nobody else may read "
    for method, path, body in (
        ("DELETE", f"/v1/admin/aliases/{text * 90}", None),
        ("PUT", f"/v1/admin/aliases/{text}", {"collection": "docs"}),
        ("DELETE", f"{COLLECTIONS}/{text}", None),
        ("POST", f"/v1/admin/collections/{text}/reindex/switch", None),
    ):
        assert house.ask(house.operator, method, path, json=body).status_code in (400, 404)
    noted = house.ask(house.operator, "GET", "/v1/admin/audit", params={"limit": 4})
    assert [one["target"] for one in noted.json()["actions"]] == ["(not a name)"] * 4
    assert "nobody else" not in noted.text
    assert house.ask(house.operator, "DELETE", "/v1/admin/aliases/acme~none").status_code == 404
    assert house.ask(house.operator, "GET", "/v1/admin/audit").json()["actions"][0]["target"] == "acme~none"
