"""The models of reindexes: in memory before a search needs them, and gone when none does."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from app.models import Models
from app.reindexes import ModelPreloader
from app.wiring import Wiring
from core.errors import StorageError
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Representation
from embedder.local import LocalEncoder
from embedder.modelqueue import ModelQueue
from embedder.scheduling import scheduler_of
from tests.app.conftest import DOCUMENTS
from tests.app.reindexing.doors import REINDEX, MakeClient, models_of, search, until_gone, until_state
from tests.embedder.tiny import save_tiny_model
from tests.waiting import until


def test_a_server_that_starts_during_a_reindex_has_its_model_before_it_answers(
    client: TestClient, make_client: MakeClient, tiny: dict[str, Any]
) -> None:
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    until_state(client, "ready")
    assert models_of(make_client(models=tiny)).is_loaded("tiny")
    without = make_client()  # where it is not configured, another process answers by it
    assert search(without)["model"] == "all-MiniLM-L6-v2"
    client.post(f"{REINDEX}/cancel")
    until_gone(client)
    assert not models_of(make_client(models=tiny)).is_loaded("tiny")


def test_every_process_loads_the_model_of_a_reindex_before_a_search_needs_it(
    client: TestClient, make_client: MakeClient, tiny: dict[str, Any], tmp_path: Path
) -> None:
    poor = make_client(models={"tiny": {"folder": tmp_path / "nothing"}})
    beside = make_client(models=tiny)  # as another worker of `serve --workers 2`; the server of `client` does the work
    assert not models_of(beside).is_loaded("tiny")
    client.post(REINDEX, json={"model": "tiny"})
    until(lambda: models_of(beside).is_loaded("tiny"))
    until_state(client, "switched")
    assert search(beside)["model"] == "tiny"
    assert poor.post("/v1/collections/goods/search", json={"query": "games"}).status_code >= 400
    assert any(thread.name == "preloader" for thread in threading.enumerate())


def until_let_go(client: TestClient, name: str = "tiny") -> None:
    until(lambda: not models_of(client).is_loaded(name))


IDLE_SECONDS = 0.1


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[Models]:
    """How often each server has looked for models to let go of: soon, and often."""
    monkeypatch.setattr("app.reindexes.IDLE_SECONDS", IDLE_SECONDS)
    monkeypatch.setattr("app.reindexes.LOOK_SECONDS", 0.02)
    counted: Counter[Models] = Counter()
    original = ModelPreloader._look

    def look(self: ModelPreloader) -> None:
        original(self)
        counted[self._parts.models] += 1

    monkeypatch.setattr(ModelPreloader, "_look", look)
    return counted


def until_looked_when_idle(looks: Counter[Models], *clients: TestClient) -> None:
    """Until a whole look came when nobody had asked for anything for longer than a model may be idle."""
    time.sleep(IDLE_SECONDS)
    before = looks.copy()
    for client in clients:
        models = models_of(client)
        until(lambda models=models: looks[models] >= before[models] + 2)  # type: ignore[misc]


def test_the_model_of_a_cancelled_reindex_leaves_the_memory_of_every_process(
    looks: Counter[Models], client: TestClient, make_client: MakeClient, tiny: dict[str, Any]
) -> None:
    beside = make_client(models=tiny)
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    until_state(client, "ready")
    until(lambda: models_of(beside).is_loaded("tiny"))
    left = [weakref.ref(models_of(each).encoder("tiny")) for each in (client, beside)]
    until_looked_when_idle(looks, client, beside)
    assert all(models_of(each).is_loaded("tiny") for each in (client, beside)), "it may be switched to at any time"
    client.post(f"{REINDEX}/cancel")
    for each in (client, beside):
        until_let_go(each)
    gc.collect()
    assert [model() for model in left] == [None, None]
    assert search(client)["model"] == "all-MiniLM-L6-v2"
    embedded = client.post("/v1/embeddings", json={"model": "tiny", "input": "a radio"})
    assert embedded.status_code == 200, "who asks for it has it loaded again"
    until_looked_when_idle(looks, client)
    assert models_of(client).is_loaded("tiny"), "and from then on it is no reindex' model"


def test_after_a_cleanup_the_old_model_is_let_go_of_and_the_new_one_stays(
    looks: Counter[Models], make_client: MakeClient, tiny: dict[str, Any], tmp_path: Path
) -> None:
    other = {"other": {"folder": save_tiny_model(tmp_path / "other", pooling="cls_token"), "precision": "fp32"}}
    client = make_client(models=tiny | other)
    assert client.post("/v1/collections", json={"name": "goods", "model": "tiny"}).status_code == 201
    assert client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()["created"] == 3
    begun = client.post(REINDEX, json={"model": "other"})
    assert begun.status_code == 202, begun.text
    until_state(client, "switched")
    until_looked_when_idle(looks, client)
    assert models_of(client).is_loaded("tiny"), "a rollback needs it"
    client.post(f"{REINDEX}/cleanup")
    until_let_go(client)
    until_looked_when_idle(looks, client)
    assert models_of(client).is_loaded("other")
    assert search(client)["model"] == "other"


def test_a_refused_reindex_leaves_no_model_behind_and_one_that_is_in_use_stays(
    looks: Counter[Models], client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"model": "tiny", "settings": {"passage_tokens": 10, "overlap_tokens": 20}}
    monkeypatch.setattr("app.reindexes.IDLE_SECONDS", 60.0)
    assert client.post(REINDEX, json=wrong).status_code == 400
    assert models_of(client).is_loaded("tiny")
    monkeypatch.setattr("app.reindexes.IDLE_SECONDS", IDLE_SECONDS)
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
    until_state(client, "ready")
    assert client.post("/v1/collections", json={"name": "apart", "model": "tiny"}).status_code == 201
    client.post(f"{REINDEX}/cancel")
    until_gone(client)
    until_looked_when_idle(looks, client)
    assert models_of(client).is_loaded("tiny"), "another collection is of it"


def test_a_model_that_is_asked_for_or_waited_for_is_not_let_go_of(client: TestClient) -> None:
    models = models_of(client)
    encoder, other = models.encoder("tiny"), ModelQueue(scheduler_of(torch.device("cpu")))
    assert isinstance(encoder, LocalEncoder)
    assert not models.let_go("tiny", idle_seconds=60)
    assert models.is_loaded("tiny")
    with ThreadPoolExecutor(1) as pool:
        with other.turn(Priority.INTERACTIVE, texts=1, tokens=1):  # the device is taken
            made = pool.submit(encoder.encode, [Prompt.of("a radio")], Representation.QUERY)
            until(lambda: any(encoder.waiting().values()))
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
    until_state(first, "ready")
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
    tried = [name for models, name in asked if models is models_of(late)]  # the first server asks for them, too
    assert "broken" in tried
    assert tried.index("broken") < tried.index("tiny")
    assert models_of(late).is_loaded("tiny")
    assert not models_of(late).is_loaded("broken")
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
    look = ModelPreloader(parts)._look
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
        if self is models_of(ending):
            at_it.set()
            free.wait(60)

    monkeypatch.setattr(Models, "model", slow)
    client.post(REINDEX, json={"model": "tiny", "auto_switch": False})
    assert at_it.wait(10)
    began = time.monotonic()
    with ending.app.state.wiring.preloader.watched():  # type: ignore[attr-defined]
        pass
    try:
        ending.__exit__(None, None, None)
        assert time.monotonic() - began < 20
        assert not free.is_set()
    finally:
        free.set()
