"""Collections of several models in one process: each is searched, added to and explained by its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.models import Models
from app.settings import load_settings
from app.wiring import Wiring
from core.errors import ModelMismatch
from core.prompts import Prompt
from core.records import CollectionSettings, Document, Representation
from embedder.local import LocalEncoder
from retriever.query import Explain, Query

MakeClient = Callable[..., TestClient]
TEXTS = {"car": "the red car", "wolf": "the wolf and the lamb", "train": "the train to the city"}


def test_null_stands_for_the_main_model_where_embeddings_are_asked_for(tmp_path: Path, tiny: dict[str, Any]) -> None:
    with TestClient(create_app(Wiring(load_settings(data_dir=tmp_path / "data", model="tiny", models=tiny)))) as client:
        asked = {"input": "the wolf", "model": None}
        found, named = (client.post("/v1/embeddings", json=asked | {"model": name}).json() for name in (None, "tiny"))
        assert (found["model"], found["data"]) == ("tiny", named["data"])


def test_each_collection_is_served_by_its_own_model(make_client: MakeClient, tiny: dict[str, Any]) -> None:
    client = make_client(models=tiny)
    wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    dimensions = {"usual": 384, "small": None}
    for name in dimensions:
        model = "tiny" if name == "small" else None
        made = client.post("/v1/collections", json={"name": name, "model": model})
        assert made.status_code == 201
        assert made.json()["model"] == ("tiny" if model else "all-MiniLM-L6-v2")
        lines = "".join(f'{{"id": "{id}", "text": "{text}"}}\n' for id, text in TEXTS.items())
        bulk = client.post(f"/v1/collections/{name}/documents:bulk?wait=true", content=lines)
        assert bulk.json()["created"] == 3
        put = client.put(f"/v1/collections/{name}/documents/late", json={"text": "a wolf by the train"})
        assert put.json()["created"] == 1
    for name in dimensions:
        body = {"query": "the wolf", "legs": ["dense"], "explain": "words"}
        found = client.post(f"/v1/collections/{name}/search", json=body).json()
        with wiring.views.open(name) as view:
            encoder = wiring.models.encoder("tiny" if name == "small" else None)
            vector = encoder.encode([Prompt.of("the wolf")], Representation.QUERY).vectors[0]
            for hit in found["hits"]:
                ids = np.array([hit["id"]])
                assert hit["scores"]["dense"]["raw"] == pytest.approx(float(view.vectors(ids)[0] @ vector), abs=1e-5)
        assert found["model"] == found["hits"][0]["explanation"]["provenance"]["model"]
        replayed = client.post("/v1/replay", json={"explanation": found["hits"][0]["explanation"]}).json()
        assert replayed["agrees"]
    refused = client.post("/v1/collections", json={"name": "x", "model": "tyny"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_a_model_is_loaded_when_it_is_needed_and_once(
    tmp_path: Path, tiny: dict[str, Any], encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data_dir=tmp_path / "data", models=tiny)
    with Wiring(settings) as parts:
        collection = parts.create_collection("small", CollectionSettings(), model="tiny")
        parts.pipeline.add("small", [Document(id=id, text=text) for id, text in TEXTS.items()])
    with Wiring(settings) as parts:
        built: list[str] = []
        original = Models._built

        def build(models: Models, name: str, kind: Any) -> Any:
            built.append(name)
            return original(models, name, kind)

        monkeypatch.setattr(Models, "_built", build)
        searcher = parts.searcher
        assert built == []
        threads = [
            threading.Thread(target=searcher.search, args=("small", Query(text="wolf", explain=Explain.WORDS)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert built == ["tiny"], "not the default model, and the other one only once"
        assert parts.models.encoder_of(collection) is parts.models.encoder("tiny")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny", "tiny now loads another model"),
        ("renamed", "no loaded model has this name; renamed is loaded"),
    ],
)
def test_a_model_that_became_another_is_refused(tmp_path: Path, tiny: dict[str, Any], name: str, said: str) -> None:
    with Wiring(load_settings(data_dir=tmp_path / "data", models=tiny)) as parts:
        parts.create_collection("small", CollectionSettings(), model="tiny")
    changed = {name: {**tiny["tiny"], "pooling": "cls"}}
    with Wiring(load_settings(data_dir=tmp_path / "data", models=changed, model=name)) as parts:
        with pytest.raises(ModelMismatch, match=said) as refused:
            parts.searcher.search("small", Query(text="wolf"))
        assert "reindex" in refused.value.message
        with pytest.raises(ModelMismatch, match=said):
            parts.pipeline.add("small", [Document(id="a", text="wolf")])
        assert said in (parts.pipeline.why_not("small") or "")


def test_the_main_model_serves_what_it_embedded_under_another_name(tmp_path: Path, tiny: dict[str, Any]) -> None:
    with Wiring(load_settings(data_dir=tmp_path / "data", models=tiny)) as parts:
        parts.create_collection("small", CollectionSettings(), model="tiny")
    renamed = load_settings(data_dir=tmp_path / "data", models={"renamed": tiny["tiny"]}, model="renamed")
    with Wiring(renamed) as parts:
        assert parts.pipeline.add("small", [Document(id="a", text="wolf")]).created == 1
