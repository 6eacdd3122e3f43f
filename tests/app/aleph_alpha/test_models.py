"""Models of every kind as this API lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from tests.embedder.causal.tiny import save_tiny_causal
from tests.embedder.classifiers import save_classifier
from tests.embedder.tiny import save_tiny_model
from tests.models import made_model


def listed(client: TestClient) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in client.get("/models_available").json()}


def test_names_that_the_main_model_stands_in_for(make_client: Callable[..., TestClient]) -> None:
    models = listed(make_client(vikingdb={"fallback": True}))
    assert {"default", "luminous-base", "bge-m3", "bge-large-zh"} <= set(models)
    assert "default stands in for it" in models["bge-m3"]["description"]
    assert models["bge-m3"]["embedding_types"] == []


def test_a_model_that_cannot_be_used_says_so(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folders = {"gone": tmp_path / "nowhere", "empty": tmp_path / "empty"}
    client = make_client(models={name: {"folder": str(folder)} for name, folder in folders.items()})
    models = listed(client)
    assert models["gone"]["description"].startswith("cannot be used: model gone cannot be loaded")
    assert str(tmp_path) not in str(models)
    assert models["empty"]["description"].startswith("cannot be used: ")
    completion = client.post("/complete", json={"model": "default", "prompt": "a"})
    assert "none is configured" in completion.json()["error"]


def test_a_model_of_the_users_own(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny", prompts={"query": "query: ", "document": "passage: "})
    client = make_client(models={"tiny/model": {"folder": str(folder)}}, aliases={"luminous-base": "tiny/model"})
    models = listed(client)
    assert models["luminous-base"]["description"] == "other name of tiny/model, a dense model"
    assert models["tiny/model"]["max_context_size"] == 20
    assert models["tiny/model"]["embedding_types"] == ["symmetric", "asymmetric_document", "asymmetric_query"]
    assert client.get("/models/tiny/model/tokenizer").json()["model"]["type"] == "WordPiece"

    body = {"model": "luminous-base", "prompt": "the red car", "representation": "document"}
    document = client.post("/semantic_embed", json=body).json()
    query = client.post("/semantic_embed", json={**body, "representation": "query"}).json()
    assert document["num_tokens_prompt_total"] == query["num_tokens_prompt_total"] == 3  # without the prefixes
    assert document["embedding"] != query["embedding"]
    refused = client.post("/semantic_embed", json={**body, "compress_to_size": 128}).json()["error"]
    assert "model tiny/model has no vectors of 128 dimensions" in refused


def test_a_projection_may_be_fitted_before_anything_is_stored(
    make_client: Callable[..., TestClient], tmp_path: Path
) -> None:
    (tmp_path / "data" / "projections").mkdir(parents=True)
    assert "default" in listed(make_client())


def test_a_model_that_is_loaded_already_is_still_asked_for_its_kind(
    make_client: Callable[..., TestClient], tmp_path: Path
) -> None:
    folders = {"writer": save_tiny_causal(tmp_path / "writer"), "judge": save_classifier(tmp_path / "judge")}
    client = make_client(models={name: {"folder": str(folder)} for name, folder in folders.items()})
    assert client.post("/tokenize", json={"model": "writer", "prompt": "a", "tokens": True}).json()["tokens"] == ["a"]
    assert client.post("/rerank", json={"query": "a", "documents": ["b"]}).status_code == 200
    for name, kind in (("writer", "causal"), ("judge", "reranker")):
        body = {"model": name, "prompt": "a", "representation": "query"}
        refused = client.post("/semantic_embed", json=body)
        assert refused.status_code == 400
        assert refused.json()["error"] == f"model {name} is a {kind} model: it makes no dense vectors"
    assert client.post("/rerank", json={"query": "a", "documents": ["b"], "model": "writer"}).status_code == 400
    explained = client.post("/explain", json={"model": "judge", "prompt": "a", "target": "b"})
    assert "it makes no dense vectors" in explained.json()["error"]


def test_a_prompt_of_one_token_behind_a_prefix(make_client: Callable[..., TestClient]) -> None:
    """The prefix of multilingual E5 ends with a space, which is the first of the text's own token."""
    client = make_client(models={"e5": {"folder": str(made_model("multilingual-e5-small"))}})
    for text, count in (("the", 1), ("the wolf", 3)):
        ids = client.post("/tokenize", json={"model": "e5", "prompt": text, "token_ids": True}).json()["token_ids"]
        assert len(ids) == count
        asked = {"model": "e5", "representation": "document"}
        as_text = client.post("/semantic_embed", json={**asked, "prompt": text}).json()
        as_ids = client.post("/semantic_embed", json={**asked, "prompt": [{"type": "token_ids", "data": ids}]}).json()
        assert as_text["num_tokens_prompt_total"] == as_ids["num_tokens_prompt_total"] == count
        assert np.allclose(as_text["embedding"], as_ids["embedding"], atol=1e-5)
