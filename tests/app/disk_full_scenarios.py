"""The service on a disk that fills up, as its clients see it. Run by tests/store/diskfull/running.py."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from store.verify import verify
from tests.indexer.fakes import FakeEncoder
from tests.store.diskfull.disk import Disk
from tests.waiting import until

BULK = "/v1/collections/goods/documents:bulk"
DOCUMENTS = "/v1/collections/goods/documents"
QUERY = {"query": "kept goods", "k": 50}
LONG = "word " * 2000


def requests_are_refused_and_searches_go_on(disk: Disk, folder: Path) -> None:
    with _serving(folder) as client:
        before = client.post("/v1/collections/goods/search", json=QUERY).json()
        assert len(before["hits"]) == 20
        many = [{"id": f"large{number}", "text": f"large {number}"} for number in range(100)]
        requests: list[dict[str, Any]] = [
            {"method": "PUT", "url": f"{DOCUMENTS}/new", "json": {"text": "New."}},
            {"method": "POST", "url": DOCUMENTS, "json": {"documents": many}},
            {"method": "DELETE", "url": f"{DOCUMENTS}/kept1"},
            {"method": "POST", "url": BULK, "content": _lines(many), "headers": {"Idempotency-Key": "once"}},
            {"method": "POST", "url": "/v1/collections", "json": {"name": "other"}},
            {"method": "DELETE", "url": "/v1/collections/goods"},
        ]
        for request in requests:
            with disk.full():
                _check_refused(client.request(**request))
                after = client.post("/v1/collections/goods/search", json=QUERY)
                assert after.status_code == 200
                assert after.json()["hits"] == before["hits"]
                assert after.json()["seq"] == before["seq"]
                assert client.get(f"{DOCUMENTS}/kept1").status_code == 200
                assert client.get("/livez").status_code == 200
        assert client.get("/v1/jobs").json()["jobs"] == []
        assert client.get("/v1/collections").json()["collections"][0]["documents"] == 20
        for request in requests[:-1]:
            answer = client.request(**request)
            assert answer.status_code in (200, 201, 202, 204), answer.text
        _until_done(client, 1)
        assert client.get("/v1/collections/goods").json()["documents"] == 20 + 1 + 100 - 1
    assert verify(folder / "data").ok


def a_body_that_does_not_fit_is_refused_as_it_comes(disk: Disk, folder: Path) -> None:
    """More than is stored at once: a part of it was stored already."""
    with _serving(folder) as client:
        lines = _lines([{"id": f"d{number}", "text": f"{number} {LONG}"} for number in range(900)])
        with disk.full(6 * 2**20):
            _check_refused(client.post(BULK, content=lines))
            assert client.get("/v1/jobs").json()["jobs"] == []
            assert len(client.post("/v1/collections/goods/search", json=QUERY).json()["hits"]) == 20
        job = client.post(BULK, content=_lines([{"id": "later", "text": "Later."}])).json()
        assert _until_done(client, job["id"])["created"] == 1


def a_job_waits_and_goes_on_by_itself(disk: Disk, folder: Path) -> None:
    """There is room to say why it waits, which signs of life would use up: no lease is renewed so soon."""
    encoder, full = FakeEncoder(), threading.Event()
    with _serving(folder, encoder, lease_seconds=60) as client:
        calls, encoder.before = encoder.calls, lambda texts: _held(full)
        lines = _lines([{"id": f"d{number}", "text": f"{number} {LONG[:1000]}"} for number in range(300)])
        job = client.post(BULK, content=lines).json()
        until(lambda: encoder.calls > calls)
        with disk.full(100_000):
            full.set()
            found = _until(client, job["id"], {"waiting"})
            assert "no room to write" in found["reason"]
            assert found["pending"] > 0
            assert len(client.post("/v1/collections/goods/search", json=QUERY).json()["hits"]) > 0
        done = _until_done(client, job["id"])
        assert (done["state"], done["created"], done["failed"]) == ("done", 300, 0)
    assert verify(folder / "data").ok


def a_worker_that_cannot_even_write_down_why_its_job_stands_is_told_of(disk: Disk, folder: Path) -> None:
    """By /readyz: the job's row says that it runs. It goes on once there is room, long before its lease is over."""
    encoder, full = FakeEncoder(), threading.Event()
    with _serving(folder, encoder, lease_seconds=600) as client:
        calls, encoder.before = encoder.calls, lambda texts: _held(full)
        job = client.post(BULK, content=_lines([{"id": "d", "text": "One."}])).json()
        until(lambda: encoder.calls > calls)
        with disk.full():
            full.set()
            until(lambda: "no room to write" in _check(client, "worker")["text"])
            assert not _check(client, "worker")["ok"]
            assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "running"
        done = _until_done(client, job["id"])
        assert (done["state"], done["created"], done["attempts"]) == ("done", 1, 0)
        until(lambda: _check(client, "worker")["text"] == "alive")
    assert verify(folder / "data").ok


def _check(client: TestClient, name: str) -> dict[str, Any]:
    """What /readyz found of it."""
    [found] = [check for check in client.get("/readyz").json()["checks"] if check["name"] == name]
    return dict(found)


@contextmanager
def _serving(folder: Path, encoder: FakeEncoder | None = None, *, lease_seconds: float = 0.5) -> Iterator[TestClient]:
    """With a collection of 20 documents that were searched for once, and a worker that tries again soon."""
    settings = load_settings(data_dir=folder / "data", jobs={"lease_seconds": lease_seconds})
    wiring = Wiring(settings, encoder=encoder or FakeEncoder())
    with TestClient(create_app(wiring), raise_server_exceptions=False) as client:
        assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
        kept = [{"id": f"kept{number}", "text": f"kept goods {number}"} for number in range(20)]
        assert client.post(DOCUMENTS, json={"documents": kept}).status_code == 200
        yield client


def _check_refused(answer: Any) -> None:
    assert answer.status_code == 507, answer.text
    error = answer.json()["error"]
    assert error["code"] == "storage_full"
    assert "no room to write" in error["message"]
    assert int(answer.headers["Retry-After"]) >= 1


def _held(until_set: threading.Event) -> None:
    assert until_set.wait(60)


def _until_done(client: TestClient, job_id: int) -> dict[str, Any]:
    return _until(client, job_id, {"done", "failed", "cancelled"})


def _until(client: TestClient, job_id: int, states: set[str]) -> dict[str, Any]:
    """The job when it is in one of them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        if found["state"] in states:
            return found
        time.sleep(0.02)
    raise AssertionError(f"the job never comes to {states}: {found}")


def _lines(documents: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, documents))
