from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.conftest import DOCUMENTS
from tests.app.reindexing.doors import MakeClient


@pytest.fixture
def client(make_client: MakeClient, tiny: dict[str, Any]) -> TestClient:
    client = make_client(models=tiny)
    assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
    assert client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()["created"] == 3
    return client
