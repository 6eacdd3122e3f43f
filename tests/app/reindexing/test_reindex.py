"""Reindexes through the doors, with two real models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import reindexes
from app.wiring import Wiring
from indexer.preemption import LOCK_SECONDS
from tests.app.conftest import DOCUMENTS
from tests.app.reindexing.doors import REINDEX, MakeClient, search, until_gone, until_state
from tests.waiting import until

Salience = Callable[..., tuple[int, str, str]]


def test_to_another_model_and_back(client: TestClient) -> None:
    before = search(client)
    begun = client.post(REINDEX, json={"model": "tiny", "settings": {"passage_tokens": 12, "overlap_tokens": 2}})
    assert begun.status_code == 202
    assert begun.json()["state"] == "building"
    done = until_state(client, "switched")
    assert (done["documents"], done["done"], done["waiting"]) == (3, 3, 0)
    assert done["report"]["recall"] == 1.0
    after = search(client)
    assert (before["model"], after["model"]) == ("all-MiniLM-L6-v2", "tiny")
    assert after["generation"] != before["generation"]
    assert after["collection"] == "goods"
    assert search(client, done["other_generation"])["generation"] == before["generation"]
    assert [found["name"] for found in client.get("/v1/collections").json()["collections"]] == ["goods"]
    assert client.get("/v1/collections/goods").json()["settings"]["passage_tokens"] == 12
    assert client.put("/v1/collections/goods/documents/late", json={"text": "a late game"}).json()["created"] == 1
    began = time.monotonic()
    back = client.post(f"{REINDEX}/rollback")
    assert back.json()["state"] == "rolled back"
    assert time.monotonic() - began < LOCK_SECONDS / 2, "nobody had to be waited for"
    again = search(client)
    assert again["generation"] == before["generation"]
    assert client.get("/v1/collections/goods/documents/late").status_code == 200
    assert client.post(f"{REINDEX}/rollback").status_code == 409
    until_gone(client)
    audit = client.get("/v1/admin/audit").json()["actions"]
    assert [(found["action"], found["outcome"]) for found in audit[:3]] == [
        ("reindex.rollback", "reindex_conflict"),
        ("reindex.rollback", "done"),
        ("reindex.start", "done"),
    ]


def test_a_server_lets_go_of_what_is_gone(
    make_client: MakeClient, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.LET_GO_SECONDS", 0.01)
    client = make_client(models=tiny)
    client.post("/v1/collections", json={"name": "goods"})
    client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS})
    parts: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    held = parts.views._slots
    before = search(client)["generation"]
    client.post(REINDEX, json={"model": "tiny"})
    until_state(client, "switched")
    assert held.keys() == {before, search(client)["generation"]}
    client.post(f"{REINDEX}/cleanup")
    until(lambda: held.keys() == {search(client)["generation"]})
    client.delete("/v1/collections/goods")
    until(lambda: not held)


def test_the_explanation_of_a_generation_that_is_gone(client: TestClient) -> None:
    saved = search(client)["hits"][0]["explanation"]
    client.post(REINDEX, json={"model": "tiny", "grace_seconds": 0})
    until_state(client, "done")
    told = client.post("/v1/replay", json={"explanation": saved}).json()
    assert {"model", "generation"} <= set(told["changed"])


def test_judgements_decide(client: TestClient) -> None:
    judgements = {"queries": {"q": "games on my TV"}, "qrels": {"q": {"console": 1}}}
    client.post(REINDEX, json={"model": "tiny", "judgements": judgements, "min_gain": 0.5})
    failed = until_state(client, "failed")
    assert "+0.5 are asked for" in failed["reason"]
    assert failed["report"]["old"]["ndcg@10"] == 1.0
    assert failed["report"]["gain"] == pytest.approx(failed["report"]["new"]["ndcg@10"] - 1.0)
    assert search(client)["model"] == "all-MiniLM-L6-v2"
    assert client.post(f"{REINDEX}/cancel").json()["state"] == "cancelled"
    until_gone(client)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 409, "reindex_conflict"),
        ({"model": "tyny"}, 404, "model_not_found"),
        ({"model": "tiny", "share": 2}, 400, "invalid_settings"),
        ({"settings": {"language": "klingon"}}, 400, "invalid_settings"),
        ({"settings": {"alpha": 0.1}}, 422, "malformed_request"),
        ({"settings": {"sparse": "both"}}, 400, "invalid_settings"),
        ({"model": "tiny", "judgements": {"queries": {"q": "x"}, "qrels": {"p": {"a": 1}}}}, 400, "invalid_input"),
    ],
)
def test_a_reindex_that_cannot_be_done_is_refused_and_never_begins(
    client: TestClient, body: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post(REINDEX, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    missing = client.get(REINDEX)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "reindex_not_found")


def test_the_hidden_generation_cannot_be_written_to(client: TestClient) -> None:
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    hidden = until_state(client, "ready")["other_generation"]
    assert client.put(f"/v1/collections/{hidden}/documents/x", json={"text": "x"}).status_code == 404
    assert client.delete(f"/v1/collections/{hidden}").status_code == 404
    assert client.patch(f"/v1/collections/{hidden}", json={"settings": {"alpha": 0.1}}).status_code == 404
    assert search(client, hidden)["model"] == "tiny"
    assert client.delete("/v1/collections/goods").status_code == 204
    assert client.get(REINDEX).json()["reason"] == "the collection was deleted"
    wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    assert client.post(f"/v1/collections/{hidden}/search", json={"query": "x"}).status_code == 404
    wiring.reindexing.drain()
    assert not wiring.reindexing.turn()


def test_the_command_line(
    salience: Salience, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODELS", json.dumps({"tiny": {"folder": str(tiny["tiny"]["folder"])}}))
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    assert salience("add", str(tmp_path / "a.ndjson"), "-c", "goods")[0] == 0
    assert "no collection was reindexed" in salience("reindex", "list")[2]
    code, out, err = salience("reindex", "goods", "--model", "tiny", "--passage-tokens", "12", "--overlap-tokens", "2")
    assert (code, "goods: building, 0 of 3 documents" in out) == (0, True), err
    assert "salience worker does the work" in err
    assert salience("reindex", "goods", "--model", "tiny")[0] == 1
    assert salience("worker", "--once")[0] == 0
    code, out, _ = salience("reindex", "status", "goods", "--json")
    assert json.loads(out)["state"] == "switched"
    assert json.loads(salience("search", "games", "-c", "goods", "--json")[1])["model"] == "tiny"
    assert "rolled back" in salience("reindex", "rollback", "goods")[1]
    code, out, err = salience("reindex", "goods", "--index", "exact", "--wait", "--no-auto-switch")
    assert (code, "goods: ready" in out) == (0, True), err
    assert "salience reindex switch goods" in out
    assert "-c 'goods!" in out
    assert "salience reindex rollback goods" in salience("reindex", "switch", "goods")[1]
    assert "done" in salience("reindex", "cleanup", "goods")[1]
    assert salience("reindex", "goods", "--index", "hnsw")[0] == 0
    code, out, _ = salience("reindex", "cancel", "goods")
    assert (code, "goods: cancelled" in out, "to try" in out) == (0, True, False)
    listed = [(one["collection"], one["state"]) for one in json.loads(salience("reindex", "list", "--json")[1])]
    assert listed == [("goods", "cancelled")]  # the newest of three
    assert salience("reindex", "list")[1].splitlines()[1].split() == ["goods", "cancelled", "3", "0", "-"]
    code, _, err = salience("reindex", "cancel", "goods")
    assert (code, "the reindex of 'goods' is cancelled" in err) == (1, True)
    assert salience("alias", "set", "shop", "goods")[1] == "shop is goods from now on\n"
    assert json.loads(salience("alias", "list", "--json")[1]) == [{"alias": "shop", "collection": "goods"}]
    assert salience("search", "games", "-c", "shop")[0] == 0
    assert salience("alias", "delete", "shop")[0] == 0
    assert salience("verify")[0] == 0


def test_a_reindex_that_somebody_cancels_is_not_what_was_waited_for(
    salience: Salience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    assert salience("add", str(tmp_path / "a.ndjson"), "-c", "goods")[0] == 0
    monkeypatch.setattr("app.cli.reindex._work", reindexes.cancel)
    code, _, err = salience("reindex", "goods", "--index", "hnsw", "--wait")
    assert (code, "the reindex of 'goods' came to nothing: it was cancelled" in err) == (1, True), err
