"""Bulk requests, and a server on which they wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from tests.indexer.fakes import FakeEncoder

BULK = "/v1/collections/goods/documents:bulk"


def lines(*documents: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, documents))


def articles(count: int) -> str:
    return lines(*({"id": f"a{number}", "text": f"Article number {number}"} for number in range(count)))


@contextmanager
def idle(tmp_path: Path, encoder: FakeEncoder, **given: Any) -> Iterator[TestClient]:
    """A server without a worker, over the fake encoder."""
    wiring = Wiring(load_settings(data_dir=tmp_path / "idle", **given), encoder=encoder)
    with TestClient(create_app(wiring, worker=False), raise_server_exceptions=False) as client:
        client.post("/v1/collections", json={"name": "goods"})
        yield client
