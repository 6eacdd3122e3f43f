"""POST and GET /api/data/embedding/version/2, in this process, over the real default model."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from core.prompts import Prompt
from core.records import Representation
from embedder.local import LocalEncoder
from tests.app.vikingdb.signed import ACCESS_KEY, SECRET_KEY, error_of, request_of, send, signature

TEXTS = ("如何使用torchserve部署模型", "to be or not to be, that is the question")


def data_of(response: Any) -> dict[str, Any]:
    answer = response.json()
    assert response.status_code == 200, answer
    assert (answer["code"], answer["message"]) == (0, "success")
    assert answer["request_id"] == response.headers["X-Request-ID"]
    data: dict[str, Any] = answer["data"]
    return data


def test_dense_vectors_are_those_of_the_model(doors: TestClient, encoder: LocalEncoder) -> None:
    expected = encoder.encode([Prompt.of(text) for text in TEXTS], Representation.SYMMETRIC).vectors
    for method in ("POST", "GET"):
        data = data_of(send(doors, request_of("bge-large-zh", *TEXTS), method=method))
        assert set(data) == {"sentence_dense_embedding"}  # no sparse vectors there, and no usage unless asked for
        cosines = np.vecdot(np.array(data["sentence_dense_embedding"]), expected)
        assert cosines == pytest.approx(1, abs=1e-4)


def test_sparse_weights_are_bm25s_saturation_of_each_term(doors: TestClient) -> None:
    data = data_of(send(doors, request_of("bge-m3", "play playing games", "Modell", "the", return_dense=False)))
    play, german, nothing = data["sentence_sparse_embedding"]
    assert set(data) == {"sentence_sparse_embedding"}
    assert play == pytest.approx({"play": 2 / (2 + 1.2), "game": 1 / (1 + 1.2)})
    assert list(german.values()) == pytest.approx([1 / 2.2])
    assert nothing == {}


def test_both_come_in_the_order_of_the_items(doors: TestClient) -> None:
    items = [f"item number {place}" for place in range(100)]
    data = data_of(send(doors, request_of("bge-large-zh-and-m3", *items, return_token_usage=True)))
    assert len(data["sentence_dense_embedding"]) == len(data["sentence_sparse_embedding"]) == 100
    assert [f"{place}" in terms for place, terms in enumerate(data["sentence_sparse_embedding"])] == [True] * 100
    last = data_of(send(doors, request_of("bge-m3", items[-1])))["sentence_dense_embedding"][0]
    assert np.dot(last, data["sentence_dense_embedding"][-1]) == pytest.approx(1, abs=1e-4)


def test_usage_is_what_the_model_read(doors: TestClient, encoder: LocalEncoder) -> None:
    texts = [*TEXTS, "word " * 1000]
    read = encoder.encode([Prompt.of(text) for text in texts], Representation.SYMMETRIC)
    assert read.truncated.tolist() == [False, False, True]  # cut without a word, as the API has it
    usage = data_of(send(doors, request_of("bge-m3", *texts, return_token_usage=True)))["token_usage"]
    total = int(read.token_counts.sum())
    assert usage == {"prompt_tokens": total, "completion_tokens": 0, "total_tokens": total}


def test_nulls_and_unknown_fields_are_passed_over(doors: TestClient) -> None:
    body = request_of("bge-m3", "hello")
    body["model"]["params"] = {"return_dense": None, "return_sparse": None, "return_token_usage": None, "new": 1}
    body["data"][0] |= {"image": None, "video": [1]}
    body["priority"] = "high"
    data = data_of(send(doors, body))
    assert set(data) == {"sentence_dense_embedding", "sentence_sparse_embedding"}


GOOD: dict[str, Any] = request_of("bge-m3", "hello")


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def model(**fields: Any) -> dict[str, Any]:
    return changed(model={"model_name": "bge-m3", **fields})


def item(**fields: Any) -> dict[str, Any]:
    return changed(data=[{"data_type": "text", "text": "fine"}, fields])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Invalid JSON"),
        (b'{"model": {"model_name": "bge-m3"}, "data": [{"da', "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"data": ' + b"[" * 100_000, "Invalid JSON: recursion limit"),
        (json.dumps(GOOD).replace("hello", "\\ud800").encode(), "Invalid JSON"),
        ([], "should be an object"),
        (changed(model=None), "model: "),
        (changed(model="bge-m3"), "model: "),
        (changed(model={}), "model.model_name: Field required"),
        (model(model_name=3), "model.model_name: "),
        (model(params=[]), "model.params: "),
        (model(params={"return_dense": "yes"}), "model.params.return_dense: "),
        (model(params={"return_sparse": 1}), "model.params.return_sparse: "),
        (model(params={"return_dense": False, "return_sparse": False}), "one of them must be on"),
        (model(model_name="bge-large-zh", params={"return_sparse": True}), "bge-large-zh has no sparse vectors"),
        (model(model_name="bge-large-zh", params={"return_dense": False}), "one of them must be on"),
        ({"model": GOOD["model"]}, "data: Field required"),
        (changed(data=[]), "data: "),
        (changed(data={}), "data: "),
        (changed(data=["hello"]), "data[0]: "),
        (changed(data=GOOD["data"] * 101), "data: List should have at most 100 items"),
        (item(), "data[1].data_type: Field required"),
        (item(data_type="video"), "data[1].data_type: Input should be 'text', 'image' or 'text-image'"),
        (item(data_type="text"), "data[1].text: must be given"),
        (item(data_type="text", text=""), "data[1].text: must be given, and not be empty"),
        (item(data_type="text", text=7), "data[1].text: Input should be a valid string"),
        (item(data_type="text", text=["hello"]), "data[1].text: Input should be a valid string"),
        (item(data_type="image", text="hello"), "data[1].image: must be given"),
        (item(data_type="text-image", text="hello"), "data[1].image: must be given"),
        (item(data_type="text-image", image="aGVsbG8="), "data[1].text: must be given"),
        (item(data_type="image", image="no base64!"), "data[1].image: this is no base64"),
        (item(data_type="image", image="aGVsbG8"), "data[1].image: this is no base64"),
        (item(data_type="image", image="\n"), "data[1].image: must not be empty"),
    ],
)
def test_a_body_of_another_form_is_refused_with_what_is_wrong(doors: TestClient, body: Any, problem: str) -> None:
    message = error_of(send(doors, body), 400, 1000003)
    assert message.startswith("invalid request: ")
    assert problem in message


@pytest.mark.parametrize("name", ["bge-m4", "", "BGE-M3", "default", "\x00" * 10_000])
def test_a_model_that_is_not_served(doors: TestClient, name: str) -> None:
    message = error_of(send(doors, request_of(name, "hello")), 404, 1000025)
    assert message.startswith("failed to calcTextEmbedding: model not found: ")
    assert "bge-m3" in message
    assert len(message) < 400


def test_a_name_that_nothing_is_bound_to(make_client: Callable[..., TestClient]) -> None:
    message = error_of(send(make_client(), request_of("bge-m3", "hello")), 404, 1000025)
    assert "vikingdb.models.bge-m3" in message
    assert "vikingdb.fallback" in message


@pytest.mark.parametrize("name", ["bge-m3", "bge-visualized-m3"])
@pytest.mark.parametrize("kind", ["image", "text-image"])
def test_images_where_the_model_reads_none(doors: TestClient, name: str, kind: str) -> None:
    image = base64.b64encode(b"any").decode()
    body = {"model": {"model_name": name}, "data": [{"data_type": kind, "text": "hello", "image": image}]}
    assert f"{name} takes no images" in error_of(send(doors, body), 404, 1000025)


def test_every_failure_on_these_paths_is_in_the_apis_own_shape(doors: TestClient) -> None:
    assert "does not take DELETE" in error_of(send(doors, GOOD, method="DELETE"), 405, 1000003)
    error_of(send(doors, GOOD, path="/api/viking_db/data/ping"), 405, 1000003)
    for path in ("/api/collection/create", "/api/data/embedding", "/api/data/embedding/version/3", "/api"):
        error_of(send(doors, GOOD, path=path), 404, 1000024)
    assert doors.get("/v1/nothing").json()["error"]["code"] == "not_found"  # others keep theirs


def test_an_unexpected_failure_is_in_the_apis_own_shape(
    doors: TestClient, encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "encode", None)
    with capture_logs() as logs:
        response = send(doors, GOOD)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["unexpected failure"]
    assert response.status_code == 500
    answer = response.json()
    assert (answer["code"], bool(answer["request_id"])) == (1000028, True)
    assert answer["message"] == "internal error: an unexpected failure; the server's log has the details"


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_body_over_4_mb_is_refused(doors: TestClient, method: str) -> None:
    size = 4 * 2**20
    exact = json.dumps(request_of("bge-m3", "")).encode()
    padded = exact + b" " * (size - len(exact))
    assert "data[0].text" in error_of(send(doors, padded, method=method), 400, 1000003)
    assert "larger than 4194304 bytes" in error_of(send(doors, padded + b" ", method=method), 413, 1000003)


def test_the_quota_of_each_account_and_name(make_client: Callable[..., TestClient]) -> None:
    keys = f"{ACCESS_KEY}:{SECRET_KEY},OTHER:{SECRET_KEY}"
    client = make_client(auth={"hmac_keys": keys}, vikingdb={"fallback": True, "tokens_per_minute": 20})

    def ask(name: str = "bge-m3", *, access_key: str = ACCESS_KEY, words: int = 10) -> Any:
        body = json.dumps(request_of(name, "word " * words)).encode()
        return send(client, body, **signature(body, access_key=access_key))

    assert data_of(ask())  # 12 tokens, two of them special
    refused = ask()
    assert error_of(refused, 429, 1000029).startswith("over the quota: 12 of 20 tokens of bge-m3 were used")
    assert 50 < int(refused.headers["Retry-After"]) <= 60
    assert data_of(ask(words=6))  # the refused one cost nothing
    error_of(ask(words=1), 429, 1000029)
    for other in (ask("bge-large-zh"), ask(access_key="OTHER")):
        assert data_of(other)
    too_large = ask(access_key="OTHER", words=30)
    assert "send less at once" in error_of(too_large, 429, 1000029)
    assert "Retry-After" not in too_large.headers


def test_what_fails_costs_nothing(make_client: Callable[..., TestClient]) -> None:
    client = make_client(vikingdb={"fallback": True, "tokens_per_minute": 20})
    for _ in range(3):
        error_of(
            send(client, request_of("bge-m3", "word " * 10, return_dense=False, return_sparse=False)), 400, 1000003
        )
        error_of(send(client, request_of("bge-m4", "word " * 10)), 404, 1000025)
    assert data_of(send(client, request_of("bge-m3", "word " * 18)))


def test_many_clients_at_once_share_one_quota(make_client: Callable[..., TestClient]) -> None:
    client = make_client(vikingdb={"fallback": True, "tokens_per_minute": 100})
    statuses = Counter[int]()

    def ask() -> None:
        for _ in range(5):
            statuses[send(client, request_of("bge-large-zh", "a b c")).status_code] += 1  # 5 tokens

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == {200: 20, 429: 20}
