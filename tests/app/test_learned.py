"""Collections with learned sparse weights, over HTTP and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.conftest import DOCUMENTS

Salience = Callable[..., tuple[int, str, str]]


@pytest.fixture
def client(make_client: Callable[..., TestClient], splade: Path) -> TestClient:
    return make_client(models={"splade": {"folder": splade}, "small": {"folder": "default"}})


def created(client: TestClient, name: str, sparse: str | None = None) -> dict[str, Any]:
    body = {"name": name, "sparse_model": "splade", "settings": {"sparse": sparse} if sparse else {}}
    answer = client.post("/v1/collections", json=body)
    assert answer.status_code == 201, answer.text
    report = client.post(f"/v1/collections/{name}/documents", json={"documents": DOCUMENTS}).json()
    assert report["created"] == len(DOCUMENTS)
    found: dict[str, Any] = answer.json()
    return found


def test_a_learned_leg_over_http(client: TestClient) -> None:
    collection = created(client, "learned")
    assert (collection["settings"]["sparse"], collection["sparse_model"]) == ("learned", "splade")
    assert client.get("/v1/collections/learned").json()["sparse_model"] == "splade"
    found = client.post(
        "/v1/collections/learned/search", json={"query": "gaming console", "legs": ["sparse"], "explain": "words"}
    ).json()
    assert found["legs"] == ["sparse"]
    hit = found["hits"][0]
    assert hit["document_id"] == "console"
    (leg,) = hit["explanation"]["ledger"]["details"]
    assert sum(line["value"] for line in leg["details"]) == pytest.approx(hit["score"], rel=1e-9)
    assert hit["explanation"]["provenance"]["sparse_model"] == "splade"
    assert {word["learned"] for word in hit["explanation"]["query_words"]} == {0.0}


def test_three_legs_over_http(client: TestClient) -> None:
    created(client, "both", "both")
    search = "/v1/collections/both/search"
    query = {"query": "gaming console for the TV", "fusion": {"alpha": 0.4, "learned": 0.25}}
    found = client.post(search, json=query).json()
    assert found["legs"] == ["dense", "sparse", "learned"]
    weights = {leg: score["weight"] for leg, score in found["hits"][0]["scores"].items()}
    assert weights == pytest.approx({"dense": 0.4, "sparse": 0.45, "learned": 0.15})
    assert found["fusion"]["learned"] == 0.25
    explained = client.post(
        "/v1/collections/both/explain", json={"query": "gaming console for the TV", "id": found["hits"][0]["id"]}
    ).json()["hits"][0]["explanation"]
    assert any(word["learned"] > 0 for word in explained["query_words"])


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"sparse_model": "nothing"}, 404, "model_not_found", "there is no model 'nothing'"),
        ({"sparse_model": "small"}, 400, "invalid_input", "makes no sparse vectors"),
        ({"settings": {"sparse": "both"}}, 400, "invalid_settings", "name the sparse model"),
        (
            {"settings": {"sparse": "bm25"}, "sparse_model": "splade"},
            400,
            "invalid_settings",
            "takes no model",
        ),
        ({"settings": {"sparse": "splade"}}, 422, "malformed_request", "'bm25', 'learned' or 'both'"),
    ],
)
def test_what_cannot_be_created_is_refused(
    client: TestClient, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    answer = client.post("/v1/collections", json={"name": "x", **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert said in answer.json()["error"]["message"]
    assert client.get("/v1/collections/x").status_code == 404


def test_a_leg_that_the_collection_lacks_is_refused(client: TestClient) -> None:
    created(client, "learned")
    answer = client.post("/v1/collections/learned/search", json={"query": "x", "legs": ["learned"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "legs")
    assert "it has dense, sparse" in answer.json()["error"]["message"]
    wrong = client.post("/v1/collections/learned/search", json={"query": "x", "fusion": {"learned": 2}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "fusion.learned")


def test_a_learned_leg_from_the_command_line(
    salience: Salience, splade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODELS__SPLADE__FOLDER", str(splade))
    code, out, _ = salience("collections", "create", "goods", "--sparse-model", "splade", "--sparse", "both")
    assert (code, out) == (0, "created goods, embedded by all-MiniLM-L6-v2, with learned weights by splade\n")
    file = tmp_path / "goods.ndjson"
    file.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    assert salience("add", str(file), "-c", "goods")[0] == 0
    code, out, _ = salience("search", "gaming console", "-c", "goods", "--leg", "learned", "--json")
    assert json.loads(out)["hits"][0]["document_id"] == "console"
    code, out, _ = salience("explain", "gaming console", "-c", "goods", "--full")
    assert code == 0
    assert "(dense, sparse, learned)" in out
    assert "'console': scale * query" in out
    code, _, err = salience("collections", "create", "more", "--sparse", "learned")
    assert code == 1
    assert "name the sparse model" in err
    code, _, err = salience("collections", "create", "more", "--sparse", "splade")
    assert code == 1
    assert "must be one of bm25, learned, both" in err


def test_eval_of_a_learned_leg(
    salience: Salience, splade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODELS__SPLADE__FOLDER", str(splade))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "a", "text": "gaming console"}))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\tconsole\t1\n")
    for options, runs in (
        ((), ["sparse", "dense", "hybrid"]),
        (("--sparse-model", "splade"), ["sparse", "dense", "hybrid"]),
        (("--sparse-model", "splade", "--sparse", "both"), ["sparse", "learned", "dense", "hybrid"]),
    ):
        code, out, _ = salience("eval", str(folder), "--json", *options)
        assert code == 0
        result = json.loads(out)
        assert list(result["runs"]) == [*runs, "convex", "rrf"]
        assert all(run["ndcg@10"] == 1.0 for run in result["runs"].values())
        assert result["settings"]["sparse_model"] == ("splade" if options else None)
