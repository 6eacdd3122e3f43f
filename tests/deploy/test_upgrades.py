"""A server over a data directory of every earlier schema: it is upgraded after a backup, and serves what was there."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

import migrations
from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from store.migrate import SCHEMA_VERSION
from store.verify import verify
from tests.store.versions import version_of, write_version

EVERY = sorted(file.name[:4] for file in (Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))


def test_every_schema_is_known() -> None:
    assert [f"{number:04}" for number in range(1, len(EVERY) + 1)] == EVERY
    assert EVERY[-1] == SCHEMA_VERSION


@pytest.mark.parametrize("version", EVERY[:-1])
def test_a_server_over_an_older_directory(tmp_path: Path, version: str, encoder: LocalEncoder) -> None:
    data = tmp_path / "data"
    write_version(data, version)
    with TestClient(create_app(Wiring(load_settings(data_dir=data), encoder=encoder))) as client:
        assert version_of(data) == SCHEMA_VERSION
        (backup,) = (data / "backups").iterdir()
        assert version_of(backup) == version
        found = client.get("/v1/collections/books/documents").json()["documents"]
        assert [(document["id"], document["text"]) for document in found] == [("d1", "whale whale"), ("d2", "ship")]
        described = client.get("/v1/collections/books").json()
        assert (described["documents"], described["passages"]) == (2, 2)
        refused = client.post("/v1/collections/books/search", json={"query": "whale"})
        assert refused.json()["error"]["code"] in ("model_mismatch", "model_not_found")  # another model's vectors
        client.post("/v1/collections", json={"name": "new"})
        client.put("/v1/collections/new/documents/w", json={"text": "A whale."})
        hits = client.post("/v1/collections/new/search", json={"query": "a large animal of the sea"}).json()["hits"]
        assert [hit["document_id"] for hit in hits] == ["w"]
        assert client.get("/readyz").json()["status"] == "ready"
    assert verify(data).ok
