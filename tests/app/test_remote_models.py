"""One Salience embeds for another: a server whose models are remote, over each of the three wires."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.model_settings import ModelSettings
from app.modelcheck import check
from app.models import Models
from app.remote_models import load_remote_model
from app.settings import load_settings
from app.wiring import Wiring
from core.errors import InvalidControl, InvalidSettings, RemoteMismatch, RemoteRefused
from core.prompts import Prompt, TextControl
from core.protocols import Priority
from core.records import Representation
from embedder.kinds import ModelKind
from embedder.local import LocalEncoder
from tests.app.clients.documents import settings
from tests.app.conftest import Server
from tests.embedder.remote.server import DIMENSION, Remote, serving
from tests.embedder.remote.test_tls import CERTIFICATE

TEXTS = ["如何使用torchserve部署模型", "I want to play on my TV.", "A radio plays music."]


@pytest.fixture
def remotes(server: Server) -> dict[str, dict[str, str]]:
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    up = {"url": server.address, "token": server.token}
    return {
        "aleph": {"api": "aleph_alpha", "remote_model": "luminous-base", **up},
        "open": {"api": "openai", "remote_model": "text-embedding-3-small", **up},
        "viking": {"api": "vikingdb", "remote_model": "bge-m3", "url": server.address, **keys},
        "bge-large-zh": {"api": "vikingdb", "url": server.address, **keys},
    }


@pytest.fixture
def models(remotes: dict[str, Any], tmp_path: Path, encoder: LocalEncoder) -> Iterator[Models]:
    found = Models(load_settings(data_dir=tmp_path, models=remotes), encoder=encoder)
    yield found
    found.close()


@pytest.mark.parametrize("name", ["aleph", "open", "viking", "bge-large-zh"])
@pytest.mark.parametrize("representation", Representation)
def test_the_same_vectors_over_every_wire(
    models: Models, encoder: LocalEncoder, name: str, representation: Representation
) -> None:
    prompts = [Prompt.of(text) for text in TEXTS]
    remote, local = models.encoder(name), encoder.encode(prompts, representation)
    assert remote.dimension == encoder.dimension
    assert np.vecdot(remote.encode(prompts, representation).vectors, local.vectors).min() > 0.9999


def test_controls_travel_where_the_wire_has_them(models: Models, encoder: LocalEncoder) -> None:
    prompt = Prompt.of(TEXTS[1], (TextControl(start=10, length=4, factor=7),))
    steered = models.encoder("aleph").encode([prompt], Representation.QUERY).vectors[0]
    assert np.dot(steered, encoder.encode([prompt], Representation.QUERY).vectors[0]) > 0.9999
    assert np.dot(steered, encoder.encode([Prompt.of(TEXTS[1])], Representation.QUERY).vectors[0]) < 0.99
    for name in ("open", "viking"):
        with pytest.raises(InvalidControl):
            models.encoder(name).encode([prompt], Representation.QUERY)


@pytest.mark.parametrize(
    ("name", "last"), [("aleph", "passages"), ("open", "passages"), ("viking", "determinism of terms")]
)
def test_remote_models_can_be_checked(models: Models, name: str, last: str) -> None:
    findings = {finding.name: finding.good for finding in check(models, name)}
    assert False not in findings.values()
    assert findings["determinism"] is True
    assert last in findings
    assert ("steered neighbours" in findings) is (name == "aleph")


def test_sparse_vectors_travel_too(models: Models) -> None:
    assert models.describe("viking").kind is ModelKind.HYBRID
    assert models.describe("bge-large-zh").kind is ModelKind.DENSE  # of which VikingDB has no sparse vectors
    sparse = models.sparse_encoder("viking")
    vector = sparse.encode_sparse([Prompt.of("games, games and radios")], Representation.DOCUMENT).vectors[0]
    weights = {sparse.token(int(id)): float(w) for id, w in zip(vector.ids, vector.weights, strict=True)}
    assert weights == pytest.approx({"game": 2 / 3.2, "radio": 1 / 2.2})


def test_a_server_passes_on_what_another_embeds(
    make_client: Callable[..., TestClient], remotes: dict[str, Any], encoder: LocalEncoder
) -> None:
    """The whole way: client, door, remote encoder, door, model."""
    client = make_client(models=remotes, vikingdb={"models": {"bge-m3": {"dense": "viking"}}})
    expected = encoder.encode([Prompt.of(text) for text in TEXTS], Representation.SYMMETRIC).vectors
    for name in ("aleph", "open", "viking"):
        answer = client.post("/v1/embeddings", content=json.dumps({"model": name, "input": TEXTS})).json()
        found = np.array([entry["embedding"] for entry in answer["data"]])
        assert np.vecdot(found, expected).min() > 0.9999
    body = {"model": {"model_name": "bge-m3"}, "data": [{"data_type": "text", "text": text} for text in TEXTS]}
    data = client.post("/api/data/embedding/version/2", content=json.dumps(body)).json()["data"]
    assert np.vecdot(np.array(data["sentence_dense_embedding"]), expected).min() > 0.9999
    assert data["sentence_sparse_embedding"][2] == pytest.approx({"radio": 1 / 2.2, "play": 1 / 2.2, "music": 1 / 2.2})


def test_a_collection_embedded_elsewhere(remotes: dict[str, Any], tmp_path: Path) -> None:
    """The remote model as the main one: documents are put in and found by it."""
    from app.main import create_app

    wiring = Wiring(load_settings(data_dir=tmp_path, model="open", models=remotes))
    with TestClient(create_app(wiring)) as client:
        client.post("/v1/collections", json={"name": "goods"})
        documents = [{"id": str(place), "text": text} for place, text in enumerate(TEXTS)]
        report = client.post("/v1/collections/goods/documents", json={"documents": documents}).json()
        assert (report["created"], report["failed"]) == (3, 0)
        hits = client.post("/v1/collections/goods/search", json={"query": "television games"}).json()["hits"]
        assert hits[0]["document_id"] == "1"


@pytest.mark.parametrize("name", ["aleph", "open", "viking"])
def test_the_shortest_prompts_pass(make_client: Callable[..., TestClient], remotes: dict[str, Any], name: str) -> None:
    """Whatever share of the remote's tokens falls to each: none of them is empty."""
    client = make_client(models=remotes)
    alone = {"model": name, "prompt": "wolf", "representation": "query"}
    found = client.post("/semantic_embed", json=alone).json()
    assert found["num_tokens_prompt_total"] == 1
    several = {"model": name, "prompts": ["a", "the", "incomprehensibilities " * 9], "representation": "query"}
    assert len(client.post("/batch_semantic_embed", json=several).json()["embeddings"]) == 3


@pytest.mark.parametrize(
    "prompt",
    [
        " ",
        [{"type": "token_ids", "data": [99_999_999]}],
        [{"type": "image", "data": "aGVsbG8="}],
        [{"type": "text", "data": "a car", "controls": [{"start": 0, "length": 1, "factor": 900}] * 2}],
    ],
    ids=["blank", "unknown id", "image", "controls"],
)
def test_what_is_wrong_with_a_prompt_is_told_as_if_the_model_were_here(
    make_client: Callable[..., TestClient], remotes: dict[str, Any], prompt: Any
) -> None:
    """Not by a status that clients try again."""
    client = make_client(models=remotes)
    statuses = {
        model: client.post(
            "/semantic_embed", json={"model": model, "prompt": prompt, "representation": "query"}
        ).status_code
        for model in ("luminous-base", "aleph")
    }
    assert statuses == {"luminous-base": 400, "aleph": 400}


@pytest.mark.parametrize("name", ["aleph", "open"])
def test_what_was_cut_there_is_told_here(models: Models, encoder: LocalEncoder, name: str) -> None:
    """The settings say that the remote's model reads 512 tokens, and it reads fewer."""
    remote, long = models.encoder(name), Prompt.of("a b c " * 100)
    assert encoder.max_tokens < 300 < remote.max_tokens
    for prompts in ([long], [Prompt.of("a"), long, Prompt.of("b")]):
        found = remote.encode(prompts, Representation.DOCUMENT)
        assert found.truncated.tolist() == [prompt is long for prompt in prompts]
    many = [long if place % 50 == 3 else Prompt.of(f"text {place}") for place in range(130)]
    found = remote.encode(many, Representation.DOCUMENT, priority=Priority.BULK)
    assert found.truncated.nonzero()[0].tolist() == [3, 53, 103]


def test_compressed_vectors_of_a_remote_are_listed(
    make_client: Callable[..., TestClient], remotes: dict[str, Any]
) -> None:
    client = make_client(models={"small": {**remotes["aleph"], "dimension": 128}, "aleph": remotes["aleph"]})
    listed = {model["name"]: model["embedding_types"] for model in client.get("/models_available").json()}
    for name, status in (("small", 200), ("aleph", 400)):
        asked = {"model": name, "prompt": "wolf", "representation": "query", "compress_to_size": 128}
        assert client.post("/semantic_embed", json=asked).status_code == status
        assert ("asymmetric_query_128" in listed[name]) is (status == 200)


def test_a_remote_that_is_down_is_a_503_in_the_doors_shape(
    make_client: Callable[..., TestClient], tmp_path: Path
) -> None:
    down = {"api": "openai", "url": "http://127.0.0.1:1", "deadline_seconds": 0.2}
    client = make_client(models={"down": down}, vikingdb={"models": {"bge-m3": {"dense": "down"}}})
    response = client.post("/v1/embeddings", content=json.dumps({"model": "down", "input": "a"}))
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "server_error"
    assert int(response.headers["Retry-After"]) >= 1
    body = {"model": {"model_name": "bge-m3"}, "data": [{"data_type": "text", "text": "a"}]}
    response = client.post("/api/data/embedding/version/2", content=json.dumps(body))
    assert (response.status_code, response.json()["code"]) == (503, 1000028)


def test_settings_become_the_remotes_configuration(tmp_path: Path) -> None:
    given = ModelSettings(api="openai", url="http://up:1", token="a-token", dimension=64, query_prefix="query: ")
    remote = load_remote_model("e5", given, tmp_path)
    assert remote.name == "e5"
    assert remote.max_tokens == 512
    assert "a-token" not in repr(remote.__dict__)
    assert remote.overhead(Representation.QUERY) == remote.overhead(Representation.SYMMETRIC)
    assert remote.overhead(Representation.QUERY) > remote.overhead(Representation.DOCUMENT)
    remote.close()
    with pytest.raises(InvalidSettings, match="aleph_alpha knows representations itself"):
        load_remote_model("e5", ModelSettings(api="aleph_alpha", url="http://up", query_prefix="query: "), tmp_path)


def test_a_changed_model_is_accepted_as_another_revision(tmp_path: Path) -> None:
    """As the error says, through the settings: what a start pinned holds for later ones with the same revision."""
    with serving(Remote()) as remote:
        given = {"api": "openai", "url": remote.url, "token": "a-token"}
        before = _fingerprint(tmp_path, **given)
        remote.seed = 2
        with pytest.raises(RemoteMismatch, match=r"change the setting models\.m\.revision"):
            _fingerprint(tmp_path, **given)
        after = _fingerprint(tmp_path, **given, revision="2026-02")
        assert after not in (before, None)
        assert _fingerprint(tmp_path, **given, revision="2026-02") == after
        remote.seed = 1
        with pytest.raises(RemoteMismatch, match="changed its model"):
            _fingerprint(tmp_path, **given, revision="2026-02")
        assert _fingerprint(tmp_path, **given) == before


def _fingerprint(data_dir: Path, **model: Any) -> str:
    """Of the model "m" of a process that is started with these settings."""
    found = Models(load_settings(data_dir=data_dir, models={"m": model}))
    try:
        return found.encoder("m").fingerprint
    finally:
        found.close()


def test_a_model_in_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="revision: only for a model behind an api"):
        load_settings(models={"m": {"folder": tmp_path, "revision": "2"}})


def test_a_remote_whose_certificate_an_authority_of_ones_own_signed(tmp_path: Path) -> None:
    with serving(Remote(), CERTIFICATE) as remote:
        given = {"api": "openai", "url": remote.url, "token": "a-token", "timeout_seconds": 5}
        loaded = load_settings(data_dir=tmp_path, models={"m": given, "trusted": {**given, "ca_file": CERTIFICATE}})
        found = Models(loaded)
        assert found.encoder("trusted").dimension == DIMENSION
        with pytest.raises(RemoteRefused, match="is not trusted"):
            _ = found.encoder("m").dimension
        found.close()


def test_the_documentations_settings_are_remote_models(tmp_path: Path) -> None:
    shown = settings("One Salience embeds for another")
    loaded = load_settings(data_dir=tmp_path, **shown)
    found = Models(loaded)
    assert found.describe("elsewhere").kind is ModelKind.DENSE
    assert found.describe("sparse-elsewhere").kind is ModelKind.HYBRID
    assert found.encoder("elsewhere").name == "elsewhere"
    found.close()
