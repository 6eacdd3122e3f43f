"""salience key and salience audit; and what serve refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.cli import serve
from app.operation.process import is_local
from tests.app.command import start
from tests.store.versions import version_of, write_version

Salience = Callable[..., tuple[int, str, str]]


def test_a_key_by_hand(salience: Salience) -> None:
    code, token, err = salience("key", "create", "operator", "--role", "admin")
    assert (code, token[:4], len(token.strip())) == (0, "sal_", 60)
    assert "not shown again" in err
    assert "this first key" in err
    _, out, err = salience(
        "key", "create", "shop", "--role", "search", "--tenant", "acme", "-c", "docs-*", "--filter", 'a = "b"',
        "--limit", "passages=5", "--limit", "requests_per_minute=60", "--expires", "2061-01-31", "--json",
    )  # fmt: skip
    assert "this first key" not in err
    made = json.loads(out)
    assert (made["tenant"], made["collections"], made["filter"]) == ("acme", ["docs-*"], {"a": {"eq": "b"}})
    assert (made["limits"]["passages"], made["expires_at"]) == (5, "2061-01-31T00:00:00+00:00")
    rotated = json.loads(salience("key", "rotate", made["prefix"], "--overlap", "0", "--json")[1])
    assert (rotated["tenant"], rotated["id"]) == ("acme", made["id"] + 1)
    assert salience("key", "revoke", str(rotated["id"]))[:2] == (0, f"revoked key {rotated['prefix']} (shop)\n")
    for unknown in ("sal", "\udcff"):  # an argument may hold bytes that are no text
        code, _, err = salience("key", "revoke", unknown)
        assert (code, "there is no key" in err) == (1, True)
    code, out, _ = salience("key", "list")
    states = [next(word for word in ("good", "expired", "revoked") if word in line) for line in out.splitlines()[1:]]
    assert (code, states) == (0, ["good", "expired", "revoked"])
    listed = json.loads(salience("key", "list", "--json")[1])
    assert [key["usable"] for key in listed] == [True, False, False]
    assert all("key" not in key for key in listed)
    code, out, _ = salience("audit", "--json")
    actions = [(action["who"], action["action"], action["outcome"]) for action in json.loads(out)]
    unknown_twice = [("local command", "key.revoke", "key_not_found")] * 2
    assert actions == unknown_twice + [
        ("local command", name, "done") for name in ("key.revoke", "key.rotate", "key.create", "key.create")
    ]
    assert "key.rotate" in salience("audit", "-n", "4")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("key", "create", "x", "--role", "owner"), "role 'owner': must be one of search, ingest, admin"),
        (("key", "create", "x", "--role", "search", "--limit", "speed=1"), "limit 'speed=1': write it as NAME=NUMBER"),
        (("key", "create", "x", "--role", "search", "--limit", "passages=0"), "must be 1 or more"),
        (("key", "create", "x", "--role", "search", "--expires", "soon"), "must be a date"),
        (("key", "create", "x", "--role", "search", "--filter", "a <"), "filter"),
        (("key", "create", "x", "--role", "search", "-c", "a?"), "collection pattern 'a?'"),
        (("collections", "create", "acme~docs"), "characters A-Z"),
    ],
)
def test_commands_that_cannot_be_obeyed_say_why_and_end_with_1(
    salience: Salience, arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = salience(*arguments)
    assert (code, out) == (1, "")
    assert says in err


def test_the_last_key_and_unknown_ones(salience: Salience) -> None:
    salience("key", "create", "operator", "--role", "admin")
    code, _, err = salience("key", "revoke", "1")
    assert (code, "last one that may do everything" in err) == (1, True)
    code, _, err = salience("key", "revoke", "0123456789ab")
    assert (code, "there is no key '0123456789ab'" in err) == (1, True)
    assert "key.revoke" in salience("audit")[1]


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_a_whole_key_in_place_of_its_prefix_is_not_written_down(salience: Salience, command: str) -> None:
    key = salience("key", "create", "operator", "--role", "admin")[1].strip()
    code, _, err = salience("key", command, key)
    assert (code, "there is no key" in err) == (1, True)
    code, out, _ = salience("audit", "--json")
    noted = json.loads(out)[0]
    assert (noted["target"], noted["outcome"]) == ("(not a name)", "key_not_found")
    assert key not in out


def test_collections_by_hand_are_noted(salience: Salience) -> None:
    salience("collections", "create", "docs")
    salience("collections", "set", "docs", "--b", "0.3")
    salience("collections", "delete", "docs", "--yes")
    code, out, _ = salience("audit", "--json")
    actions = [(action["action"], action["target"]) for action in reversed(json.loads(out))]
    assert (code, actions) == (
        0,
        [("collection.create", "docs"), ("collection.change", "docs"), ("collection.delete", "docs")],
    )


@pytest.mark.parametrize(("setting", "value"), [("k1", 99.0), ("k1", -1.0), ("b", 1.5), ("alpha", 2.0)])
def test_bounds_are_those_of_the_api(
    salience: Salience, make_client: Callable[..., TestClient], setting: str, value: float
) -> None:
    salience("collections", "create", "docs")
    code, _, err = salience("collections", "set", "docs", f"--{setting}", str(value))
    answer = make_client().patch("/v1/collections/docs", json={"settings": {setting: value}})
    made = make_client().post("/v1/collections", json={"name": "more", "settings": {setting: value}})
    message = answer.json()["error"]["message"]
    assert (code, answer.status_code, made.status_code) == (1, 400, 400)
    assert message == made.json()["error"]["message"]
    assert message in " ".join(err.split())
    assert "must be between 0 and" in message or "0 or more" in message


def test_what_commands_do_to_all_of_the_directory_is_noted(salience: Salience, tmp_path: Path) -> None:
    salience("collections", "create", "docs")
    saved, other = tmp_path / "saved", str(tmp_path / "other")
    assert salience("backup", str(saved))[0] == 0
    assert salience("backup", str(saved))[0] == 1
    assert salience("tune", "docs", "--reset")[0] == 0
    assert salience("repair", "--dry-run")[0] == 0
    assert salience("repair")[0] == 0
    assert noted(salience)[1:] == [
        ("local command", "backup", str(saved), "done"),
        ("local command", "backup", str(saved), "conflict"),
        ("local command", "collection.change", "docs", "done"),
        ("local command", "repair", str(tmp_path / "data"), "done"),
    ]
    assert salience("restore", str(saved), "-d", other)[0] == 0
    assert [action[1:3] for action in noted(salience, "-d", other)] == [
        ("collection.create", "docs"), ("restore", str(saved)),
    ]  # fmt: skip
    assert salience("verify", "-d", other)[0] == 0


def test_a_note_upgrades_nothing(salience: Salience, tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0003")
    code, _, err = salience("backup", str(tmp_path / "saved"))
    assert (code, "the audit log does not tell of this backup" in err, "is of schema 0003" in err) == (0, True, True)
    assert version_of(tmp_path / "data") == "0003"


def noted(salience: Salience, *arguments: str) -> list[tuple[str, str, str, str]]:
    """The audit log, the oldest first."""
    actions = json.loads(salience("audit", "--json", *arguments)[1])
    return [(a["who"], a["action"], a["target"], a["outcome"]) for a in reversed(actions)]


def test_serve_listens_to_others_only_where_somebody_is_asked(tmp_path: Path, salience: Salience) -> None:
    beyond = ("serve", "--host", "0.0.0.0", "--port", "0")
    out, err = start(*beyond, data_dir=tmp_path / "data").communicate(timeout=60)
    assert out == b""
    for says in (b"can be reached from other machines", b"salience key create operator", b"--allow-anonymous"):
        assert says in err
    salience("key", "create", "operator", "--role", "admin")
    for arguments in (beyond, ("serve", "--host", "0.0.0.0", "--port", "0", "--allow-anonymous")):
        directory = tmp_path / ("data" if arguments == beyond else "other")
        process = start(*arguments, data_dir=directory)
        assert process.stderr is not None
        said = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=60)
        assert b"Salience listens at http://0.0.0.0:" in said


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("localhost", True), ("127.9.9.9", True), ("0.0.0.0", False)]
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    listener = serve._listen(host, 0)
    with listener:
        assert is_local(listener) is local
