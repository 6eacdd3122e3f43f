from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.conftest import DOCUMENTS
from tests.app.reindexing.doors import MakeClient
from tests.embedder.tiny import save_tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    return {"tiny": {"folder": save_tiny_model(tmp_path / "tiny"), "precision": "fp32"}}


@pytest.fixture
def client(make_client: MakeClient, tiny: dict[str, Any]) -> TestClient:
    client = make_client(models=tiny)
    assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
    assert client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()["created"] == 3
    return client
