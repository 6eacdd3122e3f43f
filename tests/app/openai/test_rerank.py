"""/v1/rerank and /rerank: judged by a cross-encoder where there is one, by an encoder's cosine otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from transformers import BertConfig, BertForSequenceClassification

from core.prompts import Prompt
from core.records import Representation
from embedder.crossencoder import load_reranker
from embedder.local import LocalEncoder
from tests.embedder.tiny import SIZES, save_tiny_model

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Horses and cows are both animals.",
    "The capital of France is Paris.",
    "The capital of Brazil is Brasilia.",
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random cross-encoder."""
    folder = save_tiny_model(tmp_path_factory.mktemp("judge") / "judge")
    for file in ("modules.json", "sentence_bert_config.json", "model.safetensors"):
        (folder / file).unlink(missing_ok=True)
    torch.manual_seed(3)
    sizes: dict[str, Any] = {**SIZES, "num_labels": 1}
    BertForSequenceClassification(BertConfig(**sizes)).save_pretrained(folder)
    return folder


def rerank(client: TestClient, path: str = "/v1/rerank", **fields: Any) -> Any:
    return client.post(path, content=json.dumps({"query": QUERY, "documents": DOCUMENTS, **fields}))


def test_a_cross_encoder_judges(make_client: Callable[..., TestClient], judge: Path) -> None:
    client = make_client(models={"judge": {"folder": judge}})
    model = load_reranker(judge, device="cpu")
    texts = ["a red car", "the blue house", "play a game on my tv"]
    judged = model.rerank("play tv", texts)
    scores = judged.scores
    for path in ("/v1/rerank", "/rerank"):
        for fields in ({}, {"model": "judge"}):  # the one cross-encoder of the settings is taken by itself
            answer = rerank(client, path, query="play tv", documents=texts, **fields).json()
            found = {result["index"]: result["relevance_score"] for result in answer["results"]}
            assert [found[place] for place in range(3)] == pytest.approx(scores, abs=1e-5)
            assert [result["index"] for result in answer["results"]] == np.argsort(scores)[::-1].tolist()
            total = int(judged.token_counts.sum())
            assert answer["usage"] == {"prompt_tokens": total, "completion_tokens": 0, "total_tokens": total}


def test_an_encoder_compares(doors: TestClient, encoder: LocalEncoder) -> None:
    query = encoder.encode([Prompt.of(QUERY)], Representation.QUERY)
    documents = encoder.encode([Prompt.of(text) for text in DOCUMENTS], Representation.DOCUMENT)
    answer = rerank(doors).json()
    assert [result["index"] for result in answer["results"]] == [1, 2, 0]
    for result in answer["results"]:
        cosine = np.dot(query.vectors[0], documents.vectors[result["index"]])
        assert result["relevance_score"] == pytest.approx(cosine, abs=1e-4)
        assert set(result) == {"index", "relevance_score"}
    assert answer["usage"]["total_tokens"] == query.token_counts.sum() + documents.token_counts.sum()


def test_no_cosine_is_above_1(doors: TestClient) -> None:
    for words in range(1, 41):
        results = rerank(doors, query="play " * words, documents=["play " * words] * 3).json()["results"]
        assert all(0.999 < result["relevance_score"] <= 1 for result in results)


def test_the_best_n_with_their_texts(doors: TestClient) -> None:
    documents = [*DOCUMENTS[:1], {"text": DOCUMENTS[1]}]
    results = rerank(doors, documents=documents, top_n=1, return_documents=True).json()["results"]
    assert [(result["index"], result["document"]) for result in results] == [(1, {"text": DOCUMENTS[1]})]
    assert len(rerank(doors, top_n=10).json()["results"]) == 3


def test_equals_come_in_the_order_of_the_request(doors: TestClient) -> None:
    results = rerank(doors, documents=[DOCUMENTS[1]] * 5).json()["results"]
    assert len({result["relevance_score"] for result in results}) == 1
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]


def test_what_was_cut_is_said(doors: TestClient, make_client: Callable[..., TestClient], judge: Path) -> None:
    long = "play " * 400
    judging = make_client(models={"judge": {"folder": judge}})
    for client in (doors, judging):
        assert "truncated_documents" not in rerank(client, documents=["a car", "a house"], query="play").json()
        assert rerank(client, documents=["a car", long, long]).json()["truncated_documents"] == [1, 2]
        answer = rerank(client, documents=["a car", "a house"], query=long, top_n=1).json()
        assert answer["truncated_documents"] == [0, 1]


@pytest.mark.parametrize(
    ("fields", "problem", "param"),
    [
        ({"query": ""}, "query: ", "query"),
        ({"query": " \t\n"}, "query: ", "query"),
        ({"query": None}, "query: ", "query"),
        ({"documents": []}, "documents: ", "documents"),
        ({"documents": "Paris"}, "documents: ", "documents"),
        ({"documents": ["a", ""]}, "documents[1]: String should have at least 1 character", "documents[1]"),
        ({"documents": ["a", {"text": ""}]}, "documents[1]: String should have at least 1 character", "documents[1]"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1]: Input should be a valid string", "documents[1]"),
        ({"documents": ["a", 7]}, "documents[1]: Input should be a valid string", "documents[1]"),
        ({"documents": ["a"] * 1001}, "documents: ", "documents"),
        ({"top_n": 0}, "top_n: ", "top_n"),
        ({"return_documents": "yes"}, "return_documents: ", "return_documents"),
    ],
)
def test_a_body_of_another_form_is_refused_with_its_param(
    doors: TestClient, fields: dict[str, Any], problem: str, param: str
) -> None:
    response = rerank(doors, **fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert problem in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["judge", "default"])
def test_an_empty_query_is_refused_whatever_model_judges(
    make_client: Callable[..., TestClient], judge: Path, model: str
) -> None:
    response = rerank(make_client(models={"judge": {"folder": judge}}), query=" \n", model=model)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "query")
    assert error["message"] == "query: is empty: give a text to judge the documents by"


@pytest.mark.parametrize("name", ["your-reranker-model", ""])
def test_an_unknown_model(doors: TestClient, name: str) -> None:
    response = rerank(doors, model=name)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_a_model_that_cannot_be_used_is_no_obstacle(make_client: Callable[..., TestClient]) -> None:
    client = make_client(models={"lost": {"folder": "nowhere"}})
    assert rerank(client).json()["results"][0]["index"] == 1
    assert "model lost cannot be loaded" in rerank(client, model="lost").json()["error"]["message"]
