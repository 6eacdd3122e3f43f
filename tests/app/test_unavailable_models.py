"""A model that cannot be loaded: who searches learns that, and only the operator where its files lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.models import Models, NamedModel
from app.operation.doctor_serving import model as model_check
from app.settings import load_settings
from app.wiring import Wiring
from core.errors import ModelUnavailable
from core.records import CollectionSettings, Document
from embedder.kinds import ModelKind
from embedder.local import LocalEncoder
from tests.embedder.tiny import save_tiny_model

MakeClient = Callable[..., TestClient]
DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": shutil.rmtree,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "short weights": lambda folder: _cut(folder / "model.safetensors"),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "another config": lambda folder: (folder / "config.json").write_text("{}"),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "another tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "weights that are a folder": lambda folder: _folder_in_place_of(folder / "model.safetensors"),
}


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-500])


def _folder_in_place_of(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.fixture
def small(tmp_path: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """A collection `small`, embedded by the model `tiny` in a process that has ended; the settings of its model."""
    with Wiring(load_settings(data_dir=tmp_path / "data", models=tiny)) as parts:
        parts.create_collection("small", CollectionSettings(), model="tiny")
        parts.pipeline.add("small", [Document(id="a", text="the wolf")])
    return tiny


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_search_is_a_503_that_names_the_model_and_no_path(
    small: dict[str, Any], make_client: MakeClient, tmp_path: Path, damage: str
) -> None:
    DAMAGES[damage](tmp_path / "tiny")
    client = make_client(models=small)
    with capture_logs() as logged:
        answer = client.post("/v1/collections/small/search", json={"query": "wolf"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "model_unavailable"), error
    assert "model tiny" in error["message"]
    assert str(tmp_path) not in answer.text
    assert "Retry-After" not in answer.headers
    assert [one["code"] for one in logged if str(tmp_path / "tiny") in str(one.get("error"))] == ["model_unavailable"]


def test_what_a_batch_of_searches_lacks_the_log_explains(
    small: dict[str, Any], make_client: MakeClient, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    client = make_client(models={**small, "judge": {"folder": gone, "kind": "reranker"}})
    queries = [{"query": "wolf", "rerank": "judge"}, {"query": "the wolf", "rerank": "judge"}, {"query": "wolf"}]
    with capture_logs() as logged:
        answer = client.post("/v1/collections/small/search:batch", json={"queries": queries})
    assert [one["status"] for one in answer.json()["answers"]] == [503, 503, 200]
    assert str(gone) not in answer.text
    assert [one["code"] for one in logged if str(gone) in str(one.get("error"))] == ["model_unavailable"]


def test_no_other_endpoint_tells_the_path(small: dict[str, Any], make_client: MakeClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "tiny")
    client = make_client(models=small)
    documents = {"documents": [{"id": "b", "text": "the lamb"}]}
    for answer in (
        client.post("/v1/collections/small/documents", json=documents),
        client.post("/v1/collections", json={"name": "another", "model": "tiny"}),
        client.post("/v1/embeddings", json={"input": "the wolf", "model": "tiny"}),
        client.post("/v1/admin/collections/small/reindex", json={"model": "tiny"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert str(tmp_path) not in answer.text
    assert str(tmp_path) not in client.get("/models_available").text


def test_readiness_tells_the_operator_and_others_a_name(
    small: dict[str, Any], make_client: MakeClient, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    (tmp_path / "tiny").rename(kept)
    client = make_client(models=small, auth={"tokens": "a-token-of-the-tests"})
    operator = {"Authorization": "Bearer a-token-of-the-tests"}
    search = ("/v1/collections/small/search", {"query": "wolf"})
    assert client.post(search[0], json=search[1], headers=operator).status_code == 503
    told, others = client.get("/readyz", headers=operator), client.get("/readyz")
    assert (told.status_code, others.json()["problems"]) == (200, ["models"])
    assert str(tmp_path / "tiny") in told.text
    assert str(tmp_path) not in others.text
    kept.rename(tmp_path / "tiny")
    assert client.post(search[0], json=search[1], headers=operator).status_code == 200
    assert client.get("/readyz").json()["problems"] == []


def test_damaged_weights_are_not_read_again_for_every_search(
    small: dict[str, Any], encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut(tmp_path / "tiny" / "model.safetensors")
    models, read = Models(load_settings(data_dir=tmp_path / "data", models=small), encoder=encoder), list[str]()
    original = Models._built

    def built(self: Models, name: str, kind: Any) -> Any:
        read.append(name)
        return original(self, name, kind)

    monkeypatch.setattr(Models, "_built", built)
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            models.encoder("tiny")
    assert read == ["tiny"]
    save_tiny_model(tmp_path / "tiny")
    monkeypatch.setattr("app.models.TRY_AGAIN_SECONDS", 0.0)
    assert models.encoder("tiny").name == "tiny"
    assert models.failing == {}


def test_commands_and_doctor_tell_the_path(
    small: dict[str, Any],
    tmp_path: Path,
    salience: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.rmtree(tmp_path / "tiny")
    monkeypatch.setenv("SALIENCE_MODELS__TINY__FOLDER", str(tmp_path / "tiny"))
    code, _, err = salience("search", "wolf", "-c", "small")
    assert (code, str(tmp_path / "tiny") in err) == (1, True)
    found = list(model_check()(load_settings(data_dir=tmp_path / "data", models=small)))
    assert any(str(tmp_path / "tiny") in one.text for one in found)


def test_a_worker_logs_the_path(small: dict[str, Any], encoder: LocalEncoder, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "tiny")
    with Wiring(load_settings(data_dir=tmp_path / "data", models=small), encoder=encoder) as parts:
        assert str(tmp_path / "tiny") in (parts.pipeline.why_not("small") or "")


def test_the_kind_of_a_model_that_is_let_go_of_meanwhile_is_read_anew(tmp_path: Path, tiny: dict[str, Any]) -> None:
    class LetGo(dict[str, ModelKind]):
        """Loses the model as soon as it has been found, as another thread may make it."""

        def __contains__(self, name: object) -> bool:
            there = super().__contains__(name)
            self.clear()
            return there

    models = Models(load_settings(data_dir=tmp_path / "data", models=tiny))
    models._kinds = LetGo(tiny=ModelKind.DENSE)
    assert models.kind("tiny") is ModelKind.DENSE


def test_a_model_that_is_loaded_is_not_failing(
    small: dict[str, Any], encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models(load_settings(data_dir=tmp_path / "data", models=small), encoder=encoder)
    original = Models.describe

    def described(self: Models, name: str) -> NamedModel:
        """The folder is not there yet when it is looked for; until that is noted, another thread loads the model."""
        monkeypatch.setattr(Models, "describe", original)
        self.encoder(name)
        raise ModelUnavailable(f"model {name} cannot be loaded")

    monkeypatch.setattr(Models, "describe", described)
    with pytest.raises(ModelUnavailable):
        models.kind("tiny")
    assert models.failing == {}
