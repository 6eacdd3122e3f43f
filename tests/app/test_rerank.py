"""Reranked searches through the doors: HTTP, the command line, eval; with a tiny random cross-encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.models import Models
from app.settings import load_settings
from core.errors import ModelUnavailable
from embedder.crossencoder import load_reranker
from embedder.local import LocalEncoder
from tests.embedder.classifiers import save_classifier

TEXTS = {
    "console": "play a game on the tv",
    "car": "a red car",
    "house": "the blue house on the train",
    "movie": "i want to play a movie",
}
QUERY = "play on my tv"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("judge") / "judge")


@pytest.fixture
def client(make_client: Callable[..., TestClient], judge: Path) -> TestClient:
    client = make_client(models={"judge": {"folder": judge}})
    client.post("/v1/collections", json={"name": "things"})
    lines = "\n".join(json.dumps({"id": id_, "text": text}) for id_, text in TEXTS.items())
    added = client.post("/v1/collections/things/documents:bulk?wait=true", content=lines.encode())
    assert added.json()["created"] == 4
    return client


def post(client: TestClient, path: str = "search", **body: Any) -> Any:
    return client.post(f"/v1/collections/things/{path}", json={"query": QUERY, **body})


def test_the_model_decides_among_the_first_documents(client: TestClient, judge: Path) -> None:
    model = load_reranker(judge, device="cpu")
    relevance = dict(zip(TEXTS, model.rerank(QUERY, list(TEXTS.values())).scores.tolist(), strict=True))
    answer = post(client, rerank="judge", explain="scores").json()
    assert answer["rerank"] == {"model": "judge", "depth": 50, "weight": 1.0}
    found = {hit["document_id"]: hit["score"] for hit in answer["hits"]}
    assert found == pytest.approx(relevance, abs=1e-6)
    assert list(found) == sorted(relevance, key=lambda id_: -relevance[id_])
    assert answer["took_ms"]["rerank"] > 0
    for rank, hit in enumerate(answer["hits"], start=1):
        assert hit["scores"]["rerank"] == {"raw": hit["score"], "rank": rank, "norm": hit["score"], "weight": 1.0}
        lines = hit["explanation"]["ledger"]["details"]
        assert sum(line["value"] for line in lines) == pytest.approx(hit["score"], abs=1e-6)
        assert [line["kind"] for line in lines].count("rerank") == 1
    assert post(client).json()["rerank"] is None


@pytest.mark.parametrize("explain", ["none", "words"])
@pytest.mark.parametrize(
    ("fusion", "status"),
    [
        ({"weights": [1e-308, 0.0]}, 200),
        ({"weights": [1e-320, 1e-320]}, 200),
        ({"weights": [1e15, 1e10], "k": 1e6}, 200),
        ({"weights": [1, 1e-3], "k": 1.1e6}, 400),
    ],
)
def test_fused_scores_of_any_size_are_reranked_or_refused(
    client: TestClient, fusion: dict[str, Any], status: int, explain: str
) -> None:
    for weight in (0.0, 0.5):
        asked = {"rerank": {"model": "judge", "weight": weight}, "fusion": {"method": "rrf", **fusion}}
        response = post(client, **asked, explain=explain)
        assert response.status_code == status, response.text
        for hit in response.json().get("hits", []):
            assert 0 <= hit["score"] <= 1 + 1e-9


def test_explain_batch_and_replay_know_it(client: TestClient) -> None:
    rerank = {"model": "judge", "depth": 3, "weight": 0.5}
    alone = post(client, rerank=rerank).json()["hits"]
    batch = client.post(
        "/v1/collections/things/search:batch",
        json={"queries": [{"query": QUERY, "rerank": rerank}, {"query": QUERY, "rerank": "nobody"}]},
    ).json()["answers"]
    assert [hit["id"] for hit in batch[0]["result"]["hits"]] == [hit["id"] for hit in alone]
    assert (batch[1]["status"], batch[1]["error"]["code"]) == (404, "model_not_found")
    [hit] = post(client, "explain", id=alone[0]["id"], rerank=rerank).json()["hits"]
    assert hit["score"] == pytest.approx(alone[0]["score"], abs=1e-6)
    replayed = client.post("/v1/replay", json={"explanation": hit["explanation"]}).json()
    assert (replayed["agrees"], replayed["changed"]) == (True, [])


def test_explain_takes_the_thresholds_that_decide_what_is_judged(client: TestClient) -> None:
    rerank = {"model": "judge", "depth": 3, "weight": 0.5}
    lowest = min(hit["scores"]["dense"]["raw"] for hit in post(client, rerank=rerank).json()["hits"])
    asked = {"rerank": rerank, "min_scores": {"dense": lowest + 1e-3}}
    hits = post(client, **asked, explain="words").json()["hits"]
    assert len(hits) == 3
    for hit in hits:
        [explained] = post(client, "explain", id=hit["id"], **asked).json()["hits"]
        assert explained == hit
        replayed = client.post("/v1/replay", json={"explanation": hit["explanation"]}).json()
        assert (replayed["agrees"], replayed["changed"]) == (True, [])


@pytest.mark.parametrize(
    ("rerank", "status", "param", "said"),
    [
        ("nobody", 404, "rerank.model", "there is no model 'nobody' here"),
        ("nobody", 404, "rerank.model", "rerankers here: judge"),
        ("default", 400, "rerank.model", "makes no relevance judgements; rerankers here: judge"),
        ({"model": "judge", "depth": 0}, 400, "rerank.depth", "allowed are 1 to 200"),
        ({"model": "judge", "weight": 2}, 400, "rerank.weight", "between 0 and 1"),
        ({"model": ""}, 400, "rerank.model", "names no model"),
        ({"depth": 3}, 422, "rerank.model", "Field required"),
        ({"model": "judge", "deep": 3}, 422, "rerank", "unknown key 'deep'"),
    ],
)
def test_what_cannot_be_done_is_said(client: TestClient, rerank: Any, status: int, param: str, said: str) -> None:
    response = post(client, rerank=rerank)
    error = response.json()["error"]
    assert response.status_code == status
    assert said in error["message"]
    assert param in str(error["param"])


def test_without_a_reranker_it_is_said_how_to_come_by_one(make_client: Callable[..., TestClient]) -> None:
    client = make_client()
    client.post("/v1/collections", json={"name": "things"})
    client.post("/v1/collections/things/documents", json={"documents": [{"id": "a", "text": "a game"}]})
    error = post(client, rerank="judge").json()["error"]
    assert error["code"] == "model_not_found"
    assert "no reranker is configured: name the folder of a cross-encoder in the settings" in error["message"]
    error = client.post("/v1/collections/things/search", json={"like": ["a"], "rerank": "judge"}).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_query", "rerank")


def test_only_a_precision_of_its_own_is_refused(judge: Path, tmp_path: Path, encoder: LocalEncoder) -> None:
    """The process's is for its dense models."""
    own = {"judge": {"folder": judge}, "exact": {"folder": judge, "precision": "bf16"}}
    models = Models(load_settings(data_dir=tmp_path, precision="int8", models=own), encoder=encoder)
    assert models.reranker("judge").rerank("a", ["a", "b"])
    with pytest.raises(ModelUnavailable) as refused:
        models.reranker("exact")
    assert "holds a reranker model: only a dense one computes in bf16" in refused.value.detail


def test_the_commands_take_it(
    salience: Callable[..., tuple[int, str, str]], judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_MODELS__JUDGE__FOLDER", str(judge))
    source = tmp_path / "things.jsonl"
    source.write_text("\n".join(json.dumps({"id": id_, "text": text}) for id_, text in TEXTS.items()))
    assert salience("add", str(source), "-c", "things")[0] == 0
    asked = (QUERY, "-c", "things", "--rerank", "judge", "--rerank-depth", "3", "--rerank-weight", "0.5", "--json")
    code, out, error = salience("search", *asked)
    assert code == 0, error
    found = json.loads(out)
    assert found["rerank"] == {"model": "judge", "depth": 3, "weight": 0.5}
    assert ["rerank" in hit["scores"] for hit in found["hits"]] == [True, True, True, False]
    explained = json.loads(salience("explain", *asked)[1])["hits"][0]
    assert (explained["id"], explained["score"]) == (found["hits"][0]["id"], found["hits"][0]["score"])
    code, out, error = salience("search", QUERY, "-c", "things", "--rerank", "nobody")
    assert code != 0
    assert "rerankers here: judge" in error


def test_eval_measures_it(
    salience: Callable[..., tuple[int, str, str]], judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run of its own, in the order in which hits are shown, whatever their scores."""
    monkeypatch.setenv("SALIENCE_MODELS__JUDGE__FOLDER", str(judge))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in TEXTS.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": QUERY}))
    (folder / "qrels.tsv").write_text("q\tconsole\t1\nq\tcar\t1\n")
    run = tmp_path / "run"
    code, out, error = salience(
        "eval", str(folder), "--rerank", "judge", "--rerank-depth", "2", "--json", "--run-file", str(run)
    )
    assert code == 0, error
    result = json.loads(out)
    assert list(result["runs"])[-1] == "reranked"
    assert result["settings"]["rerank"] == {"model": "judge", "depth": 2, "weight": 1.0}
    rows = [line.split() for line in run.with_name("run.reranked").read_text().splitlines()]
    plain = [line.split()[2] for line in run.read_text().splitlines()]
    assert {row[2] for row in rows[:2]} == set(plain[:2])
    assert [row[2] for row in rows[2:]] == plain[2:]
    scores = [float(row[4]) for row in rows]
    assert scores == sorted(set(scores), reverse=True)
