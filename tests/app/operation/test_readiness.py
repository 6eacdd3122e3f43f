"""/readyz says what is wrong, and only then no."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.operation import readiness as module
from store.segments import upkeep
from tests.waiting import until


def problems(client: TestClient) -> list[str]:
    """What /readyz complains of; checks that status and body agree."""
    response = client.get("/readyz")
    body = response.json()
    found: list[str] = body["problems"]
    assert response.status_code == (503 if found else 200)
    assert body["status"] == ("not_ready" if found else "ready")
    assert found == [f"{one['name']}: {one['text']}" for one in body["checks"] if not one["ok"]]
    return found


def panel(client: TestClient) -> Any:
    return client.app.state.panel  # type: ignore[attr-defined]  # an application of ours


def test_a_sound_server_is_ready_and_says_what_was_looked_at(client: TestClient) -> None:
    until(lambda: not problems(client))
    names = [one["name"] for one in client.get("/readyz").json()["checks"]]
    assert names == ["process", "model", "database", "snapshots", "disk", "worker", "reindexing", "maintenance"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_health_can_be_asked_for_without_a_body(client: TestClient, path: str) -> None:
    asked = client.head(path)
    assert (asked.status_code, asked.headers["content-type"]) == (200, client.get(path).headers["content-type"])


def test_who_is_told_to_stop_is_not_ready_and_serves_on(client: TestClient) -> None:
    panel(client).readiness.stop()
    assert problems(client) == ["process: stopping"]
    assert client.post("/v1/collections/goods/search", json={"query": "games"}).status_code == 200


def test_a_disk_without_room_is_not_ready(make_client: Callable[..., TestClient]) -> None:
    client = make_client(limits={"free_bytes": 2**60})
    [found] = problems(client)
    assert found.startswith("disk: ")
    assert "limits.free_bytes" in found


def test_a_worker_that_ended_is_noticed(client: TestClient) -> None:
    app: Any = client.app
    app.state.wiring.worker.stop()
    until(lambda: problems(client) == ["worker: its thread has ended: start this anew"])


def test_a_thread_of_reindexes_that_ended_is_noticed(client: TestClient) -> None:
    app: Any = client.app
    app.state.wiring.reindexing.stop()
    until(lambda: problems(client) == ["reindexing: its thread has ended: start this anew"])


def test_nobody_who_maintains_is_noticed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    until(lambda: not problems(client))
    monkeypatch.setattr(module, "UNMAINTAINED_SECONDS", 0.2)
    app: Any = client.app
    app.state.wiring.maintenance.stop()
    until(lambda: [found.split(":")[0] for found in problems(client)] == ["maintenance"])


def test_maintenance_that_keeps_failing_is_a_problem_and_searches_are_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "FAILING_SECONDS", 0.2)
    monkeypatch.setattr(upkeep, "QUIET_SECONDS", 0.0)
    assert 'salience_maintenance_failing_seconds{chore="segments"} 0.0' in client.get("/metrics").text
    shutil.rmtree(tmp_path / "data" / "segments", ignore_errors=True)
    (tmp_path / "data" / "segments").touch()  # where files are to be made
    monkeypatch.setattr(upkeep, "QUIET_ROWS", 1)
    client.post("/v1/collections/goods/documents", json={"documents": [{"id": "one", "text": "One more."}]})
    until(lambda: bool(client.get("/readyz").json()["problems"]))
    response = client.get("/readyz")
    [found] = response.json()["problems"]
    assert (response.status_code, found.startswith("maintenance: segments has failed for")) == (200, True)
    [line] = [one for one in client.get("/metrics").text.splitlines() if 'failing_seconds{chore="segments"}' in one]
    assert float(line.split()[-1]) > 0
    (tmp_path / "data" / "segments").unlink()
    until(lambda: not client.get("/readyz").json()["problems"])


def test_a_snapshot_that_is_far_behind_is_not_ready_until_it_was_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client.post("/v1/collections/goods/search", json={"query": "games"})
    assert not problems(client)
    monkeypatch.setattr(module, "FRESH_CHANGES", 2)
    documents = [{"id": f"d{n}", "text": f"A lamp with the number {n}."} for n in range(5)]
    client.post("/v1/collections/goods/documents", json={"documents": documents})
    [found] = problems(client)
    assert found.startswith("snapshots: 1 collections in memory, at most 5 changes behind")
    until(lambda: not problems(client))  # looking at it had it read
