"""A collection that a Milvus holds, through the doors: it answers as one whose index lies here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.wiring import Wiring
from store.indexreplication import Replication
from store.passageindex.record import list_records
from tests.app.conftest import DOCUMENTS
from tests.milvus import MilvusServer
from tests.waiting import until

LARGE, LOCAL = "/v1/collections/large", "/v1/collections/local"
REINDEX = "/v1/admin/collections/large/reindex"
MANY = [
    {"id": f"d{number}", "text": f"Document {number} tells of ships, whale {number % 7} and the sea.", "metadata": {}}
    for number in range(40)
]
SEARCHES: list[dict[str, Any]] = [
    {"query": "games on my TV", "explain": "words"},
    {"query": "whale^4 or films", "k": 20},
    {"query": "whales at sea", "filter": {"price": {"gte": 49}}},
    {"query": "whale", "must": ["ships"], "k": 5},
    {"query": "the sea", "phrases": ["the sea"], "facets": ["price"], "k": 3},
    {"query": "kitchen radio", "like": ["tv"], "unlike": ["console"]},
    {"query": "strangers with a bright screen", "legs": ["sparse"], "fusion": {"method": "rrf"}},
]


@pytest.fixture
def client(
    make_client: Callable[..., TestClient], mortal_milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    """With the same documents in a collection that Milvus holds, in part, and in one that lies here."""
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 30)  # a few stay in the tail
    monkeypatch.setattr("store.maintenance.Replication", partial(Replication, quiet_seconds=0.0))
    client = make_client(milvus={"uri": mortal_milvus.uri})
    for name, index in (("large", "milvus"), ("local", "auto")):
        made = client.post("/v1/collections", json={"name": name, "settings": {"index": index}})
        assert made.status_code == 201, made.text
        for documents in (MANY, DOCUMENTS):
            client.post(f"/v1/collections/{name}/documents", json={"documents": documents}).raise_for_status()
            if name == "large":
                until(lambda: _stats(client)["elsewhere"] == len(MANY))
    assert _stats(client)["unsealed"] == len(DOCUMENTS)
    return client


def test_it_answers_as_one_whose_index_lies_here(client: TestClient) -> None:
    for search in SEARCHES:
        large, local = (client.post(f"{path}/search", json=search).json() for path in (LARGE, LOCAL))
        assert [_shown(hit) for hit in large["hits"]] == [_shown(hit) for hit in local["hits"]], search
        assert large["hits"], search
        assert large["facets"] == local["facets"], search
    hit = client.post(f"{LARGE}/search", json={"query": "whale^3 at sea", "explain": "words"}).json()["hits"][0]
    lines = hit["explanation"]["ledger"]["details"]
    assert sum(line["value"] for line in lines) == pytest.approx(hit["score"], abs=1e-6)
    told = client.post("/v1/replay", json={"explanation": hit["explanation"]}).json()
    assert told["agrees"], told


def test_it_goes_over_and_back_while_it_is_searched(client: TestClient) -> None:
    before = _answer(client)
    for index, elsewhere in (("auto", 0), ("milvus", len(MANY))):
        client.post(REINDEX, json={"settings": {"index": index}, "grace_seconds": 0}).raise_for_status()
        until(lambda: client.get(REINDEX).json()["other_generation"] is None)  # it is over, and cleaned up
        assert client.get(REINDEX).json()["state"] == "done"
        assert client.get(LARGE).json()["settings"]["index"] == index
        assert _answer(client) == before
        until(lambda at_least=elsewhere: _stats(client)["elsewhere"] >= at_least)
    parts: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    assert parts.passage_index is not None

    def alone() -> bool:
        with parts.database.read() as session:
            return len(list_records(session)) == 1

    until(alone)


def test_without_milvus_all_else_goes_on(client: TestClient, mortal_milvus: MilvusServer) -> None:
    mortal_milvus.kill()
    answer = client.post(f"{LARGE}/search", json={"query": "whale"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "index_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.post(f"{LOCAL}/search", json={"query": "whale"}).status_code == 200
    assert client.put(f"{LARGE}/documents/new", json={"text": "A whale of a time."}).json()["created"] == 1
    assert client.get(f"{LARGE}/documents/new").json()["text"] == "A whale of a time."
    assert client.delete(f"{LARGE}/documents/d3").status_code == 204
    mortal_milvus.start()
    found = client.post(f"{LARGE}/search", json={"query": "a whale of a time", "k": 100}).json()["hits"]
    assert found[0]["document_id"] == "new"
    assert "d3" not in {hit["document_id"] for hit in found}
    assert len(found) == len(MANY) + len(DOCUMENTS)


def _answer(client: TestClient) -> dict[str, float]:
    """Scores by document: of equal ones, a generation has its own order."""
    answer = client.post(f"{LARGE}/search", json={"query": "whale^4 or films", "k": 100})
    assert answer.status_code == 200, answer.text
    return {hit["document_id"]: hit["score"] for hit in answer.json()["hits"]}


def _shown(hit: dict[str, Any]) -> dict[str, Any]:
    """All but what names the passage and its generation."""
    return {key: value for key, value in hit.items() if key not in ("id", "explanation")}


def _stats(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{LARGE}/stats").json()
    return found
