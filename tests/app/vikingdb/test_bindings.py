"""Which encoders serve the API's names: every kind of them, tiny and random."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.models import Models
from app.settings import load_settings
from app.viking import VikingModels
from core.errors import InvalidSettings
from core.prompts import ImageItem, Prompt, TextItem
from core.records import Representation
from embedder.hybrid import HybridModel, load_hybrid
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import load_sparse
from embedder.vision.loading import load_vision
from tests.app.clients.documents import settings
from tests.app.vikingdb.signed import error_of, request_of, send
from tests.embedder.tinysparse import save_tiny_hybrid, save_tiny_masked
from tests.embedder.vision.tinyvision import encoded, noise, save_tiny_vision

TEXTS = ("a b c a play games", "hello world on my tv")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "m3": save_tiny_hybrid(root / "m3"),
        "splade": save_tiny_masked(root / "splade"),
        "clip": save_tiny_vision(root / "clip"),
    }


@pytest.fixture
def bound(make_client: Callable[..., TestClient], folders: dict[str, Path]) -> Callable[..., TestClient]:
    def make(**bindings: dict[str, str]) -> TestClient:
        models = {name: {"folder": folder} for name, folder in folders.items()}
        return make_client(models=models, vikingdb={"models": {k.replace("_", "-"): v for k, v in bindings.items()}})

    return make


def data_of(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.of(text) for text in texts]


def test_one_forward_pass_gives_both(
    bound: Callable[..., TestClient], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    for method in ("encode", "encode_sparse", "encode_hybrid"):
        original = getattr(HybridModel, method)

        def counted(*given: Any, _name: str = method, _call: Any = original, **named: Any) -> Any:
            passes.append(_name)
            return _call(*given, **named)

        monkeypatch.setattr(HybridModel, method, counted)
    client = bound(bge_m3={"dense": "m3"})
    data = data_of(send(client, request_of("bge-m3", *TEXTS, return_token_usage=True)))
    assert passes == ["encode_hybrid"]

    model = load_hybrid(folders["m3"], name="m3", device="cpu")
    dense, sparse = model.encode_hybrid(prompts(*TEXTS), Representation.SYMMETRIC)
    assert np.allclose(data["sentence_dense_embedding"], dense.vectors, atol=1e-5)
    for weights, vector in zip(data["sentence_sparse_embedding"], sparse.vectors, strict=True):
        assert weights == pytest.approx(
            {model.token(int(id)): float(weight) for id, weight in zip(vector.ids, vector.weights, strict=True)},
            abs=1e-5,
        )
    assert any(data["sentence_sparse_embedding"])
    assert data["token_usage"]["total_tokens"] == int(dense.token_counts.sum())


def test_sparse_vectors_of_another_model(
    bound: Callable[..., TestClient], folders: dict[str, Path], encoder: LocalEncoder
) -> None:
    client = bound(bge_large_zh_and_m3={"dense": "default", "sparse": "splade"})
    data = data_of(send(client, request_of("bge-large-zh-and-m3", *TEXTS)))
    model = load_sparse(folders["splade"], name="splade", device="cpu")
    vectors = model.encode_sparse(prompts(*TEXTS), Representation.SYMMETRIC).vectors
    for weights, vector in zip(data["sentence_sparse_embedding"], vectors, strict=True):
        known = {id: model.tokenizer.tokens([id])[0] for id in range(len(model.tokenizer.vocabulary()))}
        named = {known.get(int(id), f"#{id}"): float(w) for id, w in zip(vector.ids, vector.weights, strict=True)}
        assert weights == pytest.approx(named, abs=1e-5)
        assert any(token.startswith("#") for token in weights)  # this network has more outputs than tokens
    assert len(data["sentence_dense_embedding"][0]) == encoder.dimension
    only = data_of(send(client, request_of("bge-large-zh-and-m3", *TEXTS, return_dense=False)))
    assert set(only) == {"sentence_sparse_embedding"}


def test_a_dense_model_has_the_terms_of_the_text_for_sparse_vectors(bound: Callable[..., TestClient]) -> None:
    data = data_of(send(bound(bge_m3={"dense": "default"}), request_of("bge-m3", "hello worlds")))
    assert data["sentence_sparse_embedding"] == [pytest.approx({"hello": 1 / 2.2, "world": 1 / 2.2})]


def test_images(bound: Callable[..., TestClient], folders: dict[str, Path]) -> None:
    client = bound(bge_visualized_m3={"dense": "clip"})
    picture = encoded(noise(1))
    image = base64.b64encode(picture).decode()
    items = [
        {"data_type": "image", "image": image},
        {"data_type": "text", "text": "a b"},
        {"data_type": "text-image", "text": "a b", "image": image},
        {"data_type": "image", "text": "passed over", "image": base64.encodebytes(picture).decode()},
    ]
    params = {"return_token_usage": True}
    answer = send(client, {"model": {"model_name": "bge-visualized-m3", "params": params}, "data": items})
    data = data_of(answer)
    assert "sentence_sparse_embedding" not in data

    model = load_vision(folders["clip"], name="clip", device="cpu")
    seen, read = ImageItem(data=picture), TextItem(text="a b")
    expected = model.encode(
        [Prompt(items=(seen,)), Prompt(items=(read,)), Prompt(items=(seen, read)), Prompt(items=(seen,))],
        Representation.SYMMETRIC,
    )
    assert np.allclose(data["sentence_dense_embedding"], expected.vectors, atol=1e-5)
    assert data["token_usage"]["prompt_tokens"] == int(expected.token_counts.sum())


def test_bytes_that_are_no_image_are_refused_with_their_place(bound: Callable[..., TestClient]) -> None:
    client = bound(bge_visualized_m3={"dense": "clip"})
    broken = encoded(noise(1))[:100]
    for data in (b"no image", broken):
        item = {"data_type": "image", "image": base64.b64encode(data).decode()}
        body = {"model": {"model_name": "bge-visualized-m3"}, "data": [{"data_type": "text", "text": "a"}, item]}
        assert "data[1]: " in error_of(send(client, body), 400, 1000003)


def viking(folders: dict[str, Path], encoder: LocalEncoder, **given: Any) -> VikingModels:
    models = {name: {"folder": folder} for name, folder in folders.items()}
    loaded = load_settings(models=models, aliases={"small": "default"}, vikingdb=given)
    return VikingModels(loaded.vikingdb, Models(loaded, encoder=encoder), Analyzer())


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ({"bge_m3": {"dense": "m3"}}, "'bge_m3' is no model of that API; it has bge-large-zh, bge-m3"),
        ({"bge-m3": {"dense": "m4"}}, "vikingdb.models.bge-m3.dense: there is no model 'm4' here"),
        ({"bge-m3": {"dense": "splade"}}, "dense: splade is a sparse model; give dense or hybrid or vision"),
        ({"bge-m3": {"dense": "m3", "sparse": "clip"}}, "sparse: clip is a vision model; give sparse or hybrid"),
        ({"bge-m3": {"sparse": "splade"}}, "vikingdb.models.bge-m3: name the model that makes its dense vectors"),
        ({"bge-m3": {}}, "vikingdb.models.bge-m3: name the model"),
        ({"bge-large-zh": {"dense": "m3", "sparse": "splade"}}, "no sparse vectors; bge-m3, bge-large-zh-and-m3 have"),
    ],
)
def test_bindings_are_checked_at_the_start(
    folders: dict[str, Path], encoder: LocalEncoder, models: dict[str, dict[str, str]], problem: str
) -> None:
    with pytest.raises(InvalidSettings) as raised:
        viking(folders, encoder, models=models)
    assert problem in raised.value.message


def test_only_unbound_names_fall_back(folders: dict[str, Path], encoder: LocalEncoder) -> None:
    found = viking(folders, encoder, models={"bge-m3": {"dense": "small", "sparse": "splade"}}, fallback=True)
    assert found.fallback_names == ("bge-large-zh", "bge-large-zh-and-m3", "bge-visualized-m3")
    assert (found.find("bge-m3").dense, found.find("bge-m3").sparse) == ("default", "splade")
    assert found.find("bge-large-zh").dense == "default"
    assert viking(folders, encoder).fallback_names == ()


def test_the_log_says_at_the_start_who_stands_in(make_client: Callable[..., TestClient]) -> None:
    with capture_logs() as logs:
        make_client(vikingdb={"fallback": True})
    [warning] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["event"] == "names of the VikingDB API are served by the main model"
    assert warning["names"] == ["bge-large-zh", "bge-m3", "bge-large-zh-and-m3", "bge-visualized-m3"]
    with capture_logs() as logs:
        make_client()
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


def test_the_documentations_bindings_hold(folders: dict[str, Path], encoder: LocalEncoder) -> None:
    shown = settings("VikingDB")
    for name, model in shown["models"].items():
        model["folder"] = folders[name]
    loaded = load_settings(**shown)
    found = VikingModels(loaded.vikingdb, Models(loaded, encoder=encoder), Analyzer())
    for name, binding in shown["vikingdb"]["models"].items():
        assert found.find(name).dense == binding["dense"]
    assert found.find("bge-m3").sparse == "m3"
    assert found.find("bge-visualized-m3").reads_images


def test_bindings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALIENCE_VIKINGDB__MODELS", json.dumps({"bge-m3": {"dense": "default"}}))
    monkeypatch.setenv("SALIENCE_VIKINGDB__TOKENS_PER_MINUTE", "7")
    loaded = load_settings().vikingdb
    assert loaded.models["bge-m3"].dense == "default"
    assert loaded.tokens_per_minute == 7
    monkeypatch.delenv("SALIENCE_VIKINGDB__TOKENS_PER_MINUTE")
    assert load_settings().vikingdb.tokens_per_minute == 120_000
