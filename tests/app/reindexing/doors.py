"""What a test asks a server, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from app.models import Models
from app.wiring import Wiring
from tests.waiting import until

REINDEX = "/v1/admin/collections/goods/reindex"
MakeClient = Callable[..., TestClient]


def search(client: TestClient, name: str = "goods") -> dict[str, Any]:
    answer = client.post(f"/v1/collections/{name}/search", json={"query": "games on my TV", "explain": "words"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until_state(client: TestClient, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        found: dict[str, Any] = client.get(REINDEX).json()
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def until_gone(client: TestClient) -> None:
    until(lambda: client.get(REINDEX).json()["other_generation"] is None)


def models_of(client: TestClient) -> Models:
    parts: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    return parts.models
