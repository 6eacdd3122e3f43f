"""Keys: made, shown once, rotated with overlap, revoked everywhere within a second; and the audit log."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.access import keys
from app.access.keyring import NEWEST_SECONDS, KeyRing
from app.api import bulk
from core.access import Rights, Role, digest_of
from indexer.fields import located_documents
from store.database import Database
from store.keys import add_key
from tests.app.access.conftest import House
from tests.app.answers import error_of

ADMIN = "/v1/admin"
Later = Callable[[House, float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Moves the clocks that a house judges keys by on by so many seconds."""
    time_of_day = time.time

    def move(house: House, seconds: float) -> None:
        ring = house.parts.keyring
        clock, now = ring._clock, ring._now
        monkeypatch.setattr(ring, "_clock", lambda: clock() + seconds)
        monkeypatch.setattr(ring, "_now", lambda: now() + seconds)
        monkeypatch.setattr(time, "time", lambda: time_of_day() + seconds)

    return move


def test_a_key_is_shown_once_and_kept_as_a_digest(house: House, tmp_path: Path) -> None:
    made = house.made("ingest", tenant="acme", collections=["docs-*"], limits={"passages": 5}, filter='a = "b"')
    prefix, secret = made["key"].removeprefix("sal_").split("_", 1)
    assert prefix == made["prefix"]
    assert len(secret) == 43
    listed = house.ask(house.operator, "GET", f"{ADMIN}/keys")
    assert secret not in listed.text
    [shown] = [key for key in listed.json()["keys"] if key["prefix"] == prefix]
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert (shown["role"], shown["tenant"], shown["collections"]) == ("ingest", "acme", ["docs-*"])
    assert (shown["filter"], shown["limits"]["passages"], shown["usable"]) == ({"a": {"eq": "b"}}, 5, True)
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").glob("salience.db*"))
    assert prefix.encode() in stored
    assert secret.encode() not in stored


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"role": "owner"}, 400, "role 'owner': must be one of search, ingest, admin"),
    ({"name": ""}, 400, "key name"),
    ({"name": "a\nb"}, 400, "key name"),
    ({"tenant": "a~b"}, 400, "tenant 'a~b'"),
    ({"tenant": ""}, 400, "tenant ''"),
    ({"collections": ["[a-z]*"]}, 400, "collection pattern '[a-z]*': must be a name, or one in which *"),
    ({"collections": ["a~b~c"]}, 400, "collection pattern"),
    ({"collections": ["x~y"], "tenant": "acme"}, 400, "collection pattern"),
    ({"filter": "price <"}, 400, "filter"),
    ({"filter": {"a": {"what": 1}}}, 400, "filter"),
    ({"filter": {"a": 1}, "role": "admin"}, 400, "a row filter goes with the roles search and ingest"),
    ({"expires_at": "2001-01-01"}, 400, "expires in the past"),
    ({"expires_at": "tomorrow"}, 400, "expires_at 'tomorrow': must be a date"),
    ({"expires_at": "9999-12-31T23:59:59-01:00"}, 400, "expires_at '9999-12-31T23:59:59-01:00': must be a date"),
    ({"expires_at": "9999-12-31T23:59:59.999999"}, 400, "must be a date"),
    ({"limits": {"passages": 0}}, 400, "limit passages 0: must be 1 or more"),
    ({"limits": {"speed": 1}}, 422, "limits: unknown key 'speed'"),
    ({"scope": "all"}, 422, "scope"),
]


@pytest.mark.parametrize(("given", "status", "says"), REFUSED, ids=str)
def test_what_no_key_is_made_of_is_refused(house: House, given: dict[str, Any], status: int, says: str) -> None:
    answer = house.ask(house.operator, "POST", f"{ADMIN}/keys", json={"name": "k", "role": "search", **given})
    assert says in error_of(answer, status)["message"]
    assert len(house.ask(house.operator, "GET", f"{ADMIN}/keys").json()["keys"]) == 1


def test_where_the_keys_cannot_be_read_those_of_before_are_good_for_watching_alone(
    house: House, later: Later, tmp_path: Path
) -> None:
    assert house.ask(house.operator, "GET", "/metrics").status_code == 200
    house.parts.database.close()
    for file in [*(tmp_path / "data").glob("salience.db*")]:
        while not file.is_dir():
            file.unlink(missing_ok=True)
            with suppress(FileExistsError):  # other threads open the database, too
                file.mkdir()
    later(house, 0.6)
    assert not house.parts.keyring.fresh
    assert house.ask(house.operator, "GET", "/metrics").status_code == 200
    assert [house.ask(key, "GET", "/metrics").status_code for key in ("wrong", None)] == [401, 401]
    assert str(tmp_path) in house.ask(house.operator, "GET", "/readyz").json()["database"]
    for key in ("wrong", None):
        told = house.ask(key, "GET", "/readyz")
        assert (told.status_code, "database" in told.json()["problems"]) == (503, True)
        assert str(tmp_path) not in told.text
    assert house.ask(house.operator, "GET", "/v1/models").status_code == 503, "it may have been revoked meanwhile"


def test_a_rotated_key_is_good_beside_the_new_one_for_a_while(house: House, later: Later) -> None:
    old = house.made("search", tenant="acme", limits={"requests_per_minute": 100})
    path = f"{ADMIN}/keys/{old['id']}/rotate"
    new = house.ask(house.operator, "POST", path, json={"overlap_seconds": 60}).json()
    assert {**new, **dict.fromkeys(("id", "key", "prefix", "created_at"), 0)} == {
        **old,
        **dict.fromkeys(("id", "key", "prefix", "created_at"), 0),
    }
    left = [house.ask(key, "GET", "/v1/collections").headers["RateLimit"] for key in (old["key"], new["key"])]
    assert [text.partition(";t=")[0] for text in left] == ['"requests";r=99', '"requests";r=98'], "they share limits"
    assert error_of(house.ask(house.operator, "POST", path, json={}), 409)["message"].startswith(f"key {old['prefix']}")
    later(house, 61)
    assert house.ask(old["key"], "GET", "/v1/collections").status_code == 401
    assert house.ask(new["key"], "GET", "/v1/collections").status_code == 200
    [shown] = [
        key for key in house.ask(house.operator, "GET", f"{ADMIN}/keys").json()["keys"] if key["id"] == old["id"]
    ]
    assert (shown["usable"], shown["replaced_by"]) == (False, new["id"])
    for overlap in (-1, 1e9):
        answer = house.ask(
            house.operator, "POST", f"{ADMIN}/keys/{new['id']}/rotate", json={"overlap_seconds": overlap}
        )
        assert "overlap_seconds" in error_of(answer, 400)["message"]


def test_without_overlap_the_old_key_ends_at_once(house: House) -> None:
    old = house.made("search")
    house.ask(house.operator, "POST", f"{ADMIN}/keys/{old['id']}/rotate", json={"overlap_seconds": 0})
    assert house.ask(old["key"], "GET", "/v1/collections").status_code == 401


def test_a_revoked_key_stops_within_a_second_in_every_process(open_house: Callable[..., House], later: Later) -> None:
    one, other = open_house(), open_house()
    made = one.made("search")
    later(other, 1.0)
    assert other.ask(made["key"], "GET", "/v1/collections").status_code == 200
    assert one.ask(one.operator, "DELETE", f"{ADMIN}/keys/{made['id']}").json()["usable"] is False
    assert one.ask(made["key"], "GET", "/v1/collections").status_code == 401
    later(other, 1.0)
    assert other.ask(made["key"], "GET", "/v1/collections").status_code == 401
    assert one.ask(one.operator, "DELETE", f"{ADMIN}/keys/{made['id']}").status_code == 200, "twice is no fault"
    assert error_of(one.ask(one.operator, "DELETE", f"{ADMIN}/keys/999"), 404)["code"] == "key_not_found"


def test_a_bulk_body_of_a_key_that_ends_meanwhile_is_not_kept(
    house: House, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.collection(house.operator, "docs")
    made = house.made("ingest")

    def until_the_key_ends(*given: Any) -> Iterator[Any]:
        yield from located_documents(*given)
        keys.revoke(house.parts.database, "somebody", made["id"], others=True)
        later(house, 0.6)  # by then every process knows

    def send() -> Any:
        lines = "".join(f'{{"id": "d{number}", "text": "A lamp."}}\n' for number in range(5))
        return house.ask(made["key"], "POST", "/v1/collections/docs/documents:bulk", content=lines)

    assert send().status_code == 202
    monkeypatch.setattr(bulk, "located_documents", until_the_key_ends)
    assert "nothing of it was kept" in error_of(send(), 401)["message"]
    jobs = house.ask(house.operator, "GET", "/v1/jobs").json()["jobs"]
    assert [job["total"] for job in jobs] == [5]


def test_the_last_key_that_may_do_everything_cannot_be_deleted(house: House) -> None:
    house.made("admin", tenant="acme")
    house.made("admin", collections=["docs"])
    error = error_of(house.ask(house.operator, "DELETE", f"{ADMIN}/keys/1"), 409)
    assert error["code"] == "last_admin_key"
    assert "salience key create" in error["message"]
    second = house.made("admin")
    assert house.ask(house.operator, "DELETE", f"{ADMIN}/keys/1").status_code == 200
    assert house.ask(house.operator, "GET", "/v1/collections").status_code == 401
    outcomes = [
        (action["action"], action["outcome"])
        for action in house.ask(second["key"], "GET", f"{ADMIN}/audit").json()["actions"]
        if action["action"] == "key.revoke"
    ]
    assert outcomes == [("key.revoke", "done"), ("key.revoke", "last_admin_key")]


def test_tokens_of_the_settings_go_on_working(open_house: Callable[..., House]) -> None:
    token = "a-token-of-the-settings"
    house = open_house(auth={"tokens": token})
    house.operator = token
    made = house.made("admin")
    assert house.ask(token, "GET", "/v1/collections").status_code == 200
    assert house.ask(None, "GET", "/v1/collections").status_code == 401
    assert house.ask(token, "DELETE", f"{ADMIN}/keys/{made['id']}").status_code == 200, "there is the token"


def test_keys_that_are_all_revoked_do_not_open_the_door(open_house: Callable[..., House]) -> None:
    token = "a-token-of-the-settings"
    house = open_house(auth={"tokens": token})
    house.operator = token
    made = house.made("admin")
    house.ask(token, "DELETE", f"{ADMIN}/keys/{made['id']}")
    later = open_house()
    later.ask(None, "GET", "/livez")
    assert later.ask(None, "GET", "/v1/collections").status_code == 401


def test_the_last_use_is_noted_beside_the_requests(house: House) -> None:
    made = house.made("search")
    house.ask(made["key"], "GET", "/v1/collections")

    def last_used() -> str | None:
        keys = house.ask(house.operator, "GET", f"{ADMIN}/keys").json()["keys"]
        found: str | None = next(key["last_used_at"] for key in keys if key["id"] == made["id"])
        return found

    assert last_used() is None
    house.parts.keyring.note()
    assert last_used() is not None


def test_what_administrators_do_is_noted(house: House) -> None:
    made = house.made("admin", tenant="acme")
    house.collection(made["key"], "docs", [{"id": "a", "text": "a text that nobody else may read"}])
    house.ask(made["key"], "POST", "/v1/collections", json={"name": "docs"})
    house.ask(made["key"], "PATCH", "/v1/collections/docs", json={"settings": {"b": 0.5}})
    house.ask(made["key"], "PATCH", "/v1/collections/docs", json={"settings": {"b": 5}})
    house.ask(made["key"], "DELETE", "/v1/collections/docs")
    house.ask(made["key"], "DELETE", "/v1/collections/docs")
    answer = house.ask(house.operator, "GET", f"{ADMIN}/audit")
    acts = [(act["who"], act["action"], act["target"], act["outcome"]) for act in answer.json()["actions"]]
    who, (local, first) = f"key {made['prefix']}", (acts[-1][0], acts[-1][2])
    assert list(reversed(acts)) == [
        ("local command", "key.create", first, "done"),
        (f"key {first}", "key.create", made["prefix"], "done"),
        (who, "collection.create", "acme~docs", "done"),
        (who, "collection.create", "acme~docs", "collection_exists"),
        (who, "collection.change", "acme~docs", "done"),
        (who, "collection.change", "acme~docs", "invalid_settings"),
        (who, "collection.delete", "acme~docs", "done"),
        (who, "collection.delete", "acme~docs", "collection_not_found"),
    ]
    assert local == "local command"
    assert "nobody else" not in answer.text
    page = house.ask(house.operator, "GET", f"{ADMIN}/audit", params={"limit": 3}).json()
    rest = house.ask(house.operator, "GET", f"{ADMIN}/audit", params={"limit": 1000, "before": page["next"]}).json()
    assert [*page["actions"], *rest["actions"]] == answer.json()["actions"]
    assert rest["next"] is None


def test_a_key_is_good_at_once_in_processes_that_did_not_make_it(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = open_house(), open_house()
    monkeypatch.setattr("app.access.keyring.REFRESH_SECONDS", 3600.0)
    there.parts.keyring.refresh(at_once=True)
    for _ in range(3):
        made = here.key()
        time.sleep(NEWEST_SECONDS)
        assert there.ask(made, "GET", "/v1/collections").status_code == 200
    time.sleep(NEWEST_SECONDS)
    monkeypatch.setattr(there.parts.keyring, "look_again", lambda: pytest.fail("for somebody without a key"))
    assert there.ask(None, "GET", "/livez").status_code == 200
    assert there.ask(None, "GET", "/v1/collections").status_code == 401


def test_whoever_is_not_known_has_the_keys_read_only_so_often(
    keyring: tuple[KeyRing, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, _ = keyring
    reads = [0]

    def read(session: object) -> int:
        reads[0] += 1
        return ring._revision

    monkeypatch.setattr("app.access.keyring.keys_revision", read)
    monkeypatch.setattr("app.access.keyring.NEWEST_SECONDS", 60.0)
    for _ in range(20):
        ring.look_again()
    assert reads == [0], "they have just been read"
    monkeypatch.setattr("app.access.keyring.NEWEST_SECONDS", 0.0)
    ring.look_again()
    assert reads == [1]


@pytest.fixture
def keyring(tmp_path: Path) -> tuple[KeyRing, str]:
    """One that knows 50 keys and two tokens, and a good key."""
    database = Database.open(tmp_path / "keys")
    with database.write() as session:
        made = [add_key(session, Rights(name="k", role=Role.SEARCH), now=time.time())[1] for _ in range(50)]
    keyring = KeyRing(database, ["a" * 20, "b" * 30])
    keyring.refresh()
    return keyring, made[7]


def wrong_tokens(good: str) -> dict[str, str]:
    prefix = good[4:16]
    return {
        "a wrong secret": f"sal_{prefix}_{'x' * 43}",
        "no key's prefix": f"sal_{'0' * 12}_{'x' * 43}",
        "another prefix": f"sal_{prefix[::-1]}_{'x' * 43}",
        "no key at all": "something else",
        "nothing": "",
    }


def test_a_wrong_key_costs_the_same_work_whatever_its_prefix(
    keyring: tuple[KeyRing, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: digests, and comparisons by the lengths of what is compared."""
    ring, good = keyring
    work: list[tuple[str, int]] = []
    real_digest, real_compare = digest_of, hmac.compare_digest

    def digest(salt: bytes, secret: str) -> bytes:
        work.append(("digest", len(salt) + len(secret)))
        return real_digest(salt, secret)

    def compare(one: bytes, other: bytes) -> bool:
        work.append(("compare", len(other)))
        return real_compare(one, other)

    monkeypatch.setattr("app.access.keyring.digest_of", digest)
    monkeypatch.setattr("app.access.keyring.secrets.compare_digest", compare)
    costs = {}
    for name, token in wrong_tokens(good).items():
        work.clear()
        assert ring.caller(token) is None
        costs[name] = list(work)
    assert set(map(json.dumps, costs.values())) == {json.dumps(costs["nothing"])}
    assert costs["nothing"] == [("digest", 16 + 43), ("compare", 32), ("compare", 20), ("compare", 30)]
    caller = ring.caller(good)
    assert caller is not None
    assert caller.rights.role is Role.SEARCH
