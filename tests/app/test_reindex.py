"""Reindexes and aliases through the doors, with two real models."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from app.models import Models
from app.reindexes import Forthcoming
from app.wiring import Wiring
from core.errors import StorageError
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Representation
from embedder.line import Line
from embedder.local import LocalEncoder
from embedder.place import place_of
from tests.app.conftest import DOCUMENTS
from tests.embedder.tiny import save_tiny_model

MakeClient = Callable[..., TestClient]
Salience = Callable[..., tuple[int, str, str]]
REINDEX = "/v1/admin/collections/goods/reindex"


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    return {"tiny": {"folder": save_tiny_model(tmp_path / "tiny"), "precision": "fp32"}}


@pytest.fixture
def client(make_client: MakeClient, tiny: dict[str, Any]) -> TestClient:
    client = make_client(models=tiny)
    assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
    assert client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()["created"] == 3
    return client


def until(client: TestClient, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        found: dict[str, Any] = client.get(REINDEX).json()
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def search(client: TestClient, name: str = "goods") -> dict[str, Any]:
    answer = client.post(f"/v1/collections/{name}/search", json={"query": "games on my TV", "explain": "words"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_to_another_model_and_back(client: TestClient) -> None:
    before = search(client)
    begun = client.post(REINDEX, json={"model": "tiny", "settings": {"passage_tokens": 12, "overlap_tokens": 2}})
    assert begun.status_code == 202
    assert begun.json()["state"] == "building"
    done = until(client, "switched")
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
    assert time.monotonic() - began < 1.0
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


def test_a_server_that_starts_during_a_reindex_has_its_model_before_it_answers(
    client: TestClient, make_client: MakeClient, tiny: dict[str, Any]
) -> None:
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    until(client, "ready")
    assert _models(make_client(models=tiny)).is_loaded("tiny")
    without = make_client()  # where it is not configured, another process answers by it
    assert search(without)["model"] == "all-MiniLM-L6-v2"
    client.post(f"{REINDEX}/cancel")
    until_gone(client)
    assert not _models(make_client(models=tiny)).is_loaded("tiny")


def test_every_process_loads_the_model_of_a_reindex_before_a_search_needs_it(
    client: TestClient, make_client: MakeClient, tiny: dict[str, Any], tmp_path: Path
) -> None:
    poor = make_client(models={"tiny": {"folder": tmp_path / "nothing"}})
    beside = make_client(models=tiny)  # as another worker of `serve --workers 2`; the server of `client` does the work
    assert not _models(beside).is_loaded("tiny")
    client.post(REINDEX, json={"model": "tiny"})
    deadline = time.monotonic() + 30
    while not _models(beside).is_loaded("tiny"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    until(client, "switched")
    assert search(beside)["model"] == "tiny"
    assert poor.post("/v1/collections/goods/search", json={"query": "games"}).status_code >= 400
    assert any(thread.name == "forthcoming-models" for thread in threading.enumerate())


def until_let_go(client: TestClient, name: str = "tiny") -> None:
    deadline = time.monotonic() + 30
    while _models(client).is_loaded(name):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def quickly_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.reindexes.IDLE_SECONDS", 0.2)


@pytest.mark.usefixtures("quickly_idle")
def test_the_model_of_a_cancelled_reindex_leaves_the_memory_of_every_process(
    client: TestClient, make_client: MakeClient, tiny: dict[str, Any]
) -> None:
    beside = make_client(models=tiny)
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    until(client, "ready")
    deadline = time.monotonic() + 30
    while not _models(beside).is_loaded("tiny"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    left = [weakref.ref(_models(each).encoder("tiny")) for each in (client, beside)]
    time.sleep(1.2)  # two looks, and longer than it may be idle
    assert all(_models(each).is_loaded("tiny") for each in (client, beside)), "it may be switched to at any time"
    client.post(f"{REINDEX}/cancel")
    for each in (client, beside):
        until_let_go(each)
    gc.collect()
    assert [model() for model in left] == [None, None]
    assert search(client)["model"] == "all-MiniLM-L6-v2"
    embedded = client.post("/v1/embeddings", json={"model": "tiny", "input": "a radio"})
    assert embedded.status_code == 200, "who asks for it has it loaded again"
    time.sleep(1.2)
    assert _models(client).is_loaded("tiny"), "and from then on it is no reindex' model"


@pytest.mark.usefixtures("quickly_idle")
def test_after_a_cleanup_the_old_model_is_let_go_of_and_the_new_one_stays(
    make_client: MakeClient, tiny: dict[str, Any], tmp_path: Path
) -> None:
    other = {"other": {"folder": save_tiny_model(tmp_path / "other", pooling="cls_token"), "precision": "fp32"}}
    client = make_client(models=tiny | other)
    assert client.post("/v1/collections", json={"name": "goods", "model": "tiny"}).status_code == 201
    assert client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()["created"] == 3
    begun = client.post(REINDEX, json={"model": "other"})
    assert begun.status_code == 202, begun.text
    until(client, "switched")
    time.sleep(1.2)
    assert _models(client).is_loaded("tiny"), "a rollback needs it"
    client.post(f"{REINDEX}/cleanup")
    until_let_go(client)
    time.sleep(1.2)
    assert _models(client).is_loaded("other")
    assert search(client)["model"] == "other"


@pytest.mark.usefixtures("quickly_idle")
def test_a_refused_reindex_leaves_no_model_behind_and_one_that_is_in_use_stays(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"model": "tiny", "settings": {"passage_tokens": 10, "overlap_tokens": 20}}
    assert client.post(REINDEX, json=wrong).status_code == 400
    assert _models(client).is_loaded("tiny")
    until_let_go(client)
    entered, free = threading.Event(), threading.Event()
    original = LocalEncoder.encode

    def slow(self: LocalEncoder, *given: Any, **options: Any) -> Any:
        if self.name == "tiny" and not entered.is_set():
            entered.set()
            free.wait(60)
        return original(self, *given, **options)

    monkeypatch.setattr(LocalEncoder, "encode", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/v1/embeddings", json={"model": "tiny", "input": "a radio"})
        assert entered.wait(30)
        assert not client.post(
            REINDEX, json={"model": "tiny", "settings": {"passage_tokens": 10, "overlap_tokens": 20}}
        ).is_success
        until_let_go(client)
        free.set()
        assert answer.result().status_code == 200, "who has it keeps it until done"
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    until(client, "ready")
    assert client.post("/v1/collections", json={"name": "apart", "model": "tiny"}).status_code == 201
    client.post(f"{REINDEX}/cancel")
    until_gone(client)
    time.sleep(1.2)
    assert _models(client).is_loaded("tiny"), "another collection is of it"


def test_a_model_that_is_asked_for_or_waited_for_is_not_let_go_of(client: TestClient) -> None:
    models = _models(client)
    encoder, other = models.encoder("tiny"), Line(place_of(torch.device("cpu")))
    assert isinstance(encoder, LocalEncoder)
    assert not models.let_go("tiny", idle_seconds=60)
    assert models.is_loaded("tiny")
    with ThreadPoolExecutor(1) as pool:
        with other.turn(Priority.INTERACTIVE, texts=1, tokens=1):  # the device is taken
            made = pool.submit(encoder.encode, [Prompt.of("a radio")], Representation.QUERY)
            deadline = time.monotonic() + 30
            while not any(encoder.waiting().values()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert not models.let_go("tiny", idle_seconds=0)
        assert len(made.result(30).vectors) == 1
    assert models.let_go("tiny", idle_seconds=0)
    assert not models.is_loaded("tiny")
    assert models.encoder("tiny") is not encoder
    assert models.let_go(models.main, idle_seconds=0)
    assert models.is_loaded(models.main), "the main model stays"


def test_a_model_that_breaks_keeps_no_other_from_being_loaded_and_no_server_from_starting(
    client: TestClient,
    make_client: MakeClient,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = {"broken": {"folder": save_tiny_model(tmp_path / "broken", pooling="cls"), "precision": "fp32"}}
    first = make_client(models=tiny | broken)
    assert first.post("/v1/collections", json={"name": "apart"}).status_code == 201
    assert first.post("/v1/admin/collections/apart/reindex", json={"model": "broken", "auto_switch": False}).is_success
    assert first.post(REINDEX, json={"model": "tiny", "auto_switch": False}).is_success
    until(first, "ready")
    asked: list[tuple[Models, str]] = []
    original = Models.model

    def breaks(self: Models, name: str) -> Any:
        asked.append((self, name))
        if name == "broken":
            raise OSError("the file system of the model is gone")
        return original(self, name)

    monkeypatch.setattr(Models, "model", breaks)
    late = make_client(models=tiny | broken)
    assert search(late)["hits"]
    tried = [name for models, name in asked if models is _models(late)]  # the first server asks for them, too
    assert "broken" in tried
    assert tried.index("broken") < tried.index("tiny")
    assert _models(late).is_loaded("tiny")
    assert not _models(late).is_loaded("broken")
    assert "the model broken of a reindex could not be loaded ahead" in caplog.text


@pytest.mark.parametrize(("error", "level"), [(StorageError("the disk is gone"), "INFO"), (OSError("gone"), "ERROR")])
def test_what_keeps_it_from_looking_is_said_once(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
) -> None:
    parts: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    mine, looks = threading.current_thread(), [error, error, error, None, error, error]

    def unreadable(session: Any) -> list[Any]:
        if threading.current_thread() is mine and (fault := looks.pop(0)) is not None:  # the server looks, too
            raise fault
        return []

    caplog.set_level("INFO")
    look = Forthcoming(parts)._look
    monkeypatch.setattr("app.reindexes.unfinished", unreadable)
    said = []
    while looks:
        before = len(_said(caplog, level))
        look()
        said.append(len(_said(caplog, level)) - before)
    assert said == [1, 0, 0, 0, 1, 0]


def _said(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    """By this thread: the server's own looks, too."""
    mine = threading.current_thread().name
    return [
        record.message
        for record in caplog.records
        if (record.name, record.levelname, record.threadName) == ("app.reindexes", level, mine)
    ]


def test_the_server_ends_while_a_model_is_being_loaded(
    make_client: MakeClient, tiny: dict[str, Any], client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = make_client(models=tiny)
    at_it, free = threading.Event(), threading.Event()

    def slow(self: Models, name: str) -> None:
        if self is _models(ending):
            at_it.set()
            free.wait(60)

    monkeypatch.setattr(Models, "model", slow)
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    assert at_it.wait(10)
    began = time.monotonic()
    with ending.app.state.wiring.forthcoming.watched():  # type: ignore[attr-defined]
        pass
    try:
        ending.__exit__(None, None, None)
        assert time.monotonic() - began < 20
        assert not free.is_set()
    finally:
        free.set()


def _models(client: TestClient) -> Models:
    parts: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    return parts.models


def until_gone(client: TestClient) -> None:
    deadline = time.monotonic() + 30
    while client.get(REINDEX).json()["other_generation"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_explanation_of_a_generation_that_is_gone(client: TestClient) -> None:
    saved = search(client)["hits"][0]["explanation"]
    client.post(REINDEX, json={"model": "tiny", "grace_seconds": 0})
    until(client, "done")
    told = client.post("/v1/replay", json={"explanation": saved}).json()
    assert {"model", "generation"} <= set(told["changed"])


def test_judgements_decide(client: TestClient) -> None:
    judgements = {"queries": {"q": "games on my TV"}, "qrels": {"q": {"console": 1}}}
    client.post(REINDEX, json={"model": "tiny", "judgements": judgements, "min_gain": 0.5})
    failed = until(client, "failed")
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
def test_what_is_refused(client: TestClient, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post(REINDEX, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    missing = client.get(REINDEX)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "reindex_not_found")


def test_aliases_are_followed_by_searches_reads_and_writes(client: TestClient) -> None:
    client.post("/v1/collections", json={"name": "green"})
    assert client.put("/v1/admin/aliases/shop", json={"collection": "goods"}).json() == {
        "alias": "shop", "collection": "goods",
    }  # fmt: skip
    assert search(client, "shop")["collection"] == "goods"
    assert client.put("/v1/collections/shop/documents/x", json={"text": "by the alias"}).json()["created"] == 1
    assert client.get("/v1/collections/goods/documents/x").status_code == 200
    assert client.get("/v1/collections/shop/stats").json()["name"] == "goods"
    bulk = client.post("/v1/collections/shop/documents:bulk?wait=true", content='{"id": "y", "text": "bulk"}\n')
    assert bulk.json()["created"] == 1
    refused = client.delete("/v1/collections/goods")
    assert (refused.status_code, "'shop' points at" in refused.text) == (409, True)
    assert client.post("/v1/collections", json={"name": "shop"}).status_code == 409
    assert client.put("/v1/admin/aliases/green", json={"collection": "goods"}).status_code == 409
    assert client.put("/v1/admin/aliases/shop", json={"collection": "nowhere"}).status_code == 404
    assert client.put("/v1/admin/aliases/shop", json={"collection": "green"}).status_code == 200
    assert client.get("/v1/collections/shop").json()["documents"] == 0
    assert client.get("/v1/admin/aliases").json()["aliases"] == [{"alias": "shop", "collection": "green"}]
    assert client.delete("/v1/admin/aliases/shop").status_code == 204
    assert client.get("/v1/admin/aliases/shop").json()["error"]["code"] == "alias_not_found"
    assert client.get("/v1/collections/shop").status_code == 404


def test_an_alias_goes_with_the_name(client: TestClient) -> None:
    client.put("/v1/admin/aliases/shop", json={"collection": "goods"})
    client.post("/v1/admin/collections/shop/reindex", json={"model": "tiny"})
    until(client, "switched")
    assert search(client, "shop")["model"] == "tiny"
    assert client.post("/v1/admin/collections/shop/reindex/cleanup").json()["state"] == "done"
    until_gone(client)
    assert search(client, "shop")["model"] == "tiny"


def test_the_hidden_generation_cannot_be_written_to(client: TestClient) -> None:
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    hidden = until(client, "ready")["other_generation"]
    assert client.put(f"/v1/collections/{hidden}/documents/x", json={"text": "x"}).status_code == 404
    assert client.delete(f"/v1/collections/{hidden}").status_code == 404
    assert client.patch(f"/v1/collections/{hidden}", json={"settings": {"alpha": 0.1}}).status_code == 404
    assert search(client, hidden)["model"] == "tiny"
    assert client.delete("/v1/collections/goods").status_code == 204
    assert client.get(REINDEX).json()["reason"] == "the collection was deleted"
    wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    assert client.post(f"/v1/collections/{hidden}/search", json={"query": "x"}).status_code == 404
    assert not wiring.reindexing.turn()


def test_the_command_line(
    salience: Salience, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODELS", json.dumps({"tiny": {"folder": str(tiny["tiny"]["folder"])}}))
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    assert salience("add", str(tmp_path / "a.ndjson"), "-c", "goods")[0] == 0
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
    code, _, err = salience("reindex", "cancel", "goods")
    assert (code, "the reindex of 'goods' is done" in err) == (1, True)
    assert salience("alias", "set", "shop", "goods")[1] == "shop is goods from now on\n"
    assert json.loads(salience("alias", "list", "--json")[1]) == [{"alias": "shop", "collection": "goods"}]
    assert salience("search", "games", "-c", "shop")[0] == 0
    assert salience("alias", "delete", "shop")[0] == 0
    assert salience("verify")[0] == 0
