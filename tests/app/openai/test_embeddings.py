"""/v1/embeddings and /v1/models in this process: what the package cannot send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from core.prompts import Prompt
from core.records import Representation
from embedder.loading import load_encoder
from tests.embedder.tiny import save_tiny_model, write_json

EMBEDDINGS = "/v1/embeddings"


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    answer = response.json()
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = answer["error"]
    return error


def post(client: TestClient, body: Any, path: str = EMBEDDINGS, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content, headers={"Content-Type": "application/json", **headers})


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "default", "input": "hello", **fields}


@pytest.mark.parametrize(
    ("body", "problem", "param"),
    [
        (b"", "Invalid JSON", None),
        (b'{"model": "default", "inp', "Invalid JSON", None),
        (b'{"input": ' + b"[" * 100_000, "recursion limit", None),
        (b'{"model": "default", "input": "\\ud800"}', "Invalid JSON", None),
        ([], "should be an object", None),
        ({"input": "hello"}, "model: Field required", "model"),
        (asked(model=7), "model: Input should be a valid string", "model"),
        ({"model": "default"}, "input: Field required", "input"),
        (asked(input=None), "input: must be a text", "input"),
        (asked(input=7), "input: must be a text", "input"),
        (asked(input={"text": "hello"}), "input: must be a text", "input"),
        (asked(input=""), "input: must be a text or a list of token ids", "input"),
        (asked(input=["a", None]), "input[1]: must be", "input"),
        (asked(input=["a", []]), "input[1]: must be", "input"),
        (asked(input=[1, "a"]), "input: must be", "input"),
        (asked(input=[[1], [True]]), "input[1]: must be", "input"),
        (asked(input=[[1.5]]), "input[0]: must be", "input"),
        (asked(input=[1] * 1_000_001), "input: 1000001 token ids are more than 1000000", "input"),
        (asked(input=[[-1]]), "input: token id -1 is not in", "input"),
        (asked(input=[[2**80]]), f"input: token id {2**80} is not in", "input"),
        (asked(dimensions=0), "dimensions: Input should be greater than or equal to 1", "dimensions"),
        (asked(dimensions="128"), "dimensions: ", "dimensions"),
        (asked(dimensions=10**400), "dimensions: Input should be less than or equal to 65536", "dimensions"),
        (asked(dimensions=385), "allowed are", "dimensions"),
        (asked(encoding_format="int8"), "encoding_format: Input should be 'float' or 'base64'", "encoding_format"),
        (asked(representation="both"), "representation: ", "representation"),
        (asked(user=7), "user: ", "user"),
    ],
)
def test_a_body_of_another_form_is_refused_with_its_param(
    make_client: Callable[..., TestClient], body: Any, problem: str, param: str | None
) -> None:
    error = error_of(post(make_client(), body), 400)
    assert problem in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_nulls_and_unknown_fields_are_passed_over(doors: TestClient) -> None:
    nulls = asked(dimensions=None, encoding_format=None, user=None, representation=None, new=[float(1)])
    assert post(doors, nulls).json()["data"][0]["object"] == "embedding"


def test_representations_are_told_apart(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "e5")
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "play a ", "passage": "tv on "}})
    client, model = make_client(models={"e5": {"folder": folder}}), load_encoder(str(folder), device="cpu")
    found = {
        name: np.array(post(client, asked(model="e5", representation=name)).json()["data"][0]["embedding"])
        for name in (*Representation, None)
    }
    for name in Representation:
        expected = model.encode([Prompt.of("hello")], name).vectors[0]
        assert np.allclose(found[name], expected, atol=1e-5)
    assert not np.allclose(found[Representation.QUERY], found[Representation.DOCUMENT], atol=1e-3)
    assert np.allclose(found[None], found[Representation.SYMMETRIC], atol=1e-6)  # as that API has it: no difference


def test_failures_are_in_openais_shape(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": "a-long-enough-token"}, limits={"prompt_bytes": 2000})
    ok = {"Authorization": "Bearer a-long-enough-token"}
    for path in (EMBEDDINGS, "/embeddings", "/v1/rerank", "/rerank"):
        assert error_of(post(client, b" " * 3000, path), 401)["code"] == "invalid_api_key"  # before the body is read
        assert error_of(client.get(path), 405)["code"] == "method_not_allowed"
        assert error_of(post(client, b" " * 3000, path, **ok), 413)["code"] == "too_large"
    assert error_of(client.get("/v1/models"), 401)["code"] == "invalid_api_key"
    assert error_of(client.get("/v1/models/gpt", headers=ok), 404)["code"] == "model_not_found"
    assert client.get("/v1/collections").json()["error"]["request_id"]  # ours keep our shape


def test_a_name_may_have_slashes(make_client: Callable[..., TestClient]) -> None:
    client = make_client(aliases={"maker/small": "default"})
    for path in ("/v1/models/maker/small", "/v1/models/maker%2Fsmall"):
        assert client.get(path).json()["id"] == "maker/small"
    assert error_of(client.get("/v1/models/maker/large"), 404)["code"] == "model_not_found"


def test_a_model_of_another_kind_is_named(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    write_json(tmp_path / "judge" / "config.json", {"architectures": ["BertForSequenceClassification"]})
    client = make_client(models={"judge": {"folder": tmp_path / "judge"}})
    assert "makes no dense vectors" in error_of(post(client, asked(model="judge")), 400)["message"]
