from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.errors import SalienceError
from store import kernel_loading
from tests.app.answers import SEARCH, error_of


def test_way_of_a_document(client: TestClient) -> None:
    shown = client.get("/v1/collections/goods").json()
    assert (shown["documents"], shown["passages"], shown["model"]) == (3, 3, "all-MiniLM-L6-v2")

    again = client.put("/v1/collections/goods/documents/radio", json={"text": "A radio with a clock."}).json()
    assert (again["created"], again["replaced"], again["passages"]) == (0, 1, 1)
    same = client.put("/v1/collections/goods/documents/radio", json={"text": "A radio with a clock."}).json()
    assert (same["unchanged"], same["tokens"]) == (1, 0)

    stored = client.get("/v1/collections/goods/documents/radio").json()
    assert stored["text"] == "A radio with a clock."
    assert stored["passages"] == [{"start": 0, "end": 21}]

    assert client.delete("/v1/collections/goods/documents/radio").status_code == 204
    assert error_of(client.delete("/v1/collections/goods/documents/radio"), 404)["code"] == "document_not_found"
    hits = client.post(SEARCH, json={"query": "radio"}).json()["hits"]
    assert {hit["document_id"] for hit in hits} == {"console", "tv"}


def test_a_server_loads_the_kernel_once_a_large_collection_is_searched(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_loading, "_state", kernel_loading._State())
    monkeypatch.setattr(kernel_loading, "LARGE", 2)
    client = make_client()
    client.post("/v1/collections", json={"name": "goods"})
    for number, loading in ((1, False), (2, True)):
        client.put(f"/v1/collections/goods/documents/d{number}", json={"text": "A radio."})
        assert client.post(SEARCH, json={"query": "radio"}).status_code == 200
        loaders = [thread for thread in threading.enumerate() if thread.name == "load-kernel"]
        assert bool(loaders or kernel_loading.kernel_for(0)) is loading
        for loader in loaders:
            loader.join(60)
    assert kernel_loading.kernel_for(0) is not None


def test_ids_with_slashes_and_pages(client: TestClient) -> None:
    client.put("/v1/collections/goods/documents/notes/old%3F.md", json={"text": "An old note."})
    assert client.get("/v1/collections/goods/documents/notes/old%3F.md").json()["id"] == "notes/old?.md"
    first = client.get("/v1/collections/goods/documents", params={"limit": 3}).json()
    second = client.get("/v1/collections/goods/documents", params={"limit": 3, "after": first["next"]}).json()
    ids = [document["id"] for page in (first, second) for document in page["documents"]]
    assert ids == ["console", "notes/old?.md", "radio", "tv"]
    assert second["next"] is None


def test_a_hit_says_what_it_is_made_of(client: TestClient) -> None:
    response = client.post(SEARCH, json={"query": "I want to play^7 on my TV.", "explain": "words"}).json()
    assert response["query"] == "I want to play on my TV."
    assert response["controls"] == [{"start": 10, "length": 4, "factor": 7.0, "token_overlap": "partial"}]
    assert (response["fusion"]["method"], response["fusion"]["alpha"]) == ("auto", 0.5)
    assert response["choice"]["legs"].keys() == {"dense", "sparse"}
    chosen = {leg: said["weight"] for leg, said in response["choice"]["legs"].items()}
    assert math.isclose(sum(chosen.values()), 1)
    for hit in response["hits"]:
        assert {leg: score["weight"] for leg, score in hit["scores"].items()} == chosen
    assert response["hits"][0]["document_id"] == "console"
    for hit in response["hits"]:
        parts = [leg["weight"] * leg["norm"] for leg in hit["scores"].values()]
        assert math.isclose(math.fsum(parts), hit["score"], abs_tol=1e-9)
        assert math.isclose(leaf_sum(hit["explanation"]["ledger"]), hit["score"], abs_tol=1e-6)
        document = client.get(f"/v1/collections/goods/documents/{hit['document_id']}").json()
        passage = hit["passage"]
        assert document["text"][passage["start"] : passage["end"]] == passage["text"]


def leaf_sum(line: dict[str, Any]) -> float:
    return math.fsum(map(leaf_sum, line["details"])) if line["details"] else line["value"]


def test_the_three_ways_to_steer_are_one(client: TestClient) -> None:
    ways: list[dict[str, Any]] = [
        {"query": "I want to play^7 on my TV."},
        {"query": "I want to play on my TV.", "emphasis": {"play": 7}},
        {"query": "I want to play on my TV.", "controls": [{"start": 10, "length": 4, "factor": 7}]},
    ]
    scores = [[hit["score"] for hit in client.post(SEARCH, json=way).json()["hits"]] for way in ways]
    plain = [hit["score"] for hit in client.post(SEARCH, json={"query": ways[1]["query"]}).json()["hits"]]
    assert scores[0] == scores[1] == scores[2] != plain


def test_explain_answers_for_the_hit_of_a_search(client: TestClient) -> None:
    query = {"query": "play games", "fusion": "rrf"}
    hit = client.post(SEARCH, json=query).json()["hits"][1]
    explained = client.post("/v1/collections/goods/explain", json={**query, "id": hit["id"]}).json()["hits"][0]
    assert explained["score"] == hit["score"]
    assert math.isclose(leaf_sum(explained["explanation"]["ledger"]), hit["score"], abs_tol=1e-6)
    missing = client.post("/v1/collections/goods/explain", json={**query, "id": 10**6})
    assert error_of(missing, 404)["code"] == "hit_not_found"


def test_filter_and_legs(client: TestClient) -> None:
    body = {"query": "TV", "filter": {"price": {"lt": 400}}, "legs": ["dense"]}
    hits = client.post(SEARCH, json=body).json()["hits"]
    assert {hit["document_id"] for hit in hits} == {"console", "radio"}
    assert all(list(hit["scores"]) == ["dense"] for hit in hits)


def test_bulk_reports_each_line_and_goes_on(client: TestClient) -> None:
    lines = [json.dumps({"sku": n, "body": f"Article number {n}"}) for n in range(1, 11)]
    lines[6] = '{"sku": 7, "body": '
    response = client.post(
        "/v1/collections/goods/documents:bulk?wait=true&id_field=sku", content=gzip.compress("\n".join(lines).encode())
    )
    report = response.json()
    assert (report["created"], report["failed"]) == (9, 1)
    assert report["errors"][0]["line"] == 7
    assert client.get("/v1/collections/goods/documents/10").json()["text"] == "Article number 10"


def test_a_bad_document_costs_itself_only(client: TestClient) -> None:
    documents = [
        {"id": "a", "text": "\ud800"}, {"id": "b", "text": ""}, {"id": "c", "text": "nul \0"},
        {"id": "\udfff", "text": "x"}, {"id": "d", "text": "fine"}, {"text": "without an id"},
    ]  # fmt: skip
    body = json.dumps({"documents": documents})
    response = client.post(
        "/v1/collections/goods/documents", content=body, headers={"Content-Type": "application/json"}
    )
    report = response.json()
    assert (report["created"], report["failed"]) == (2, 4)
    assert [error["line"] for error in report["errors"]] == [1, 2, 3, 4]
    refused = client.put("/v1/collections/goods/documents/b", json={"text": " "})
    assert error_of(refused, 400)["code"] == "invalid_document"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"query": ""}', 400, "invalid_query"),
        ('{"query": "  "}', 400, "invalid_query"),
        ('{"query": "^7"}', 400, "invalid_query"),
        ('{"query": "a\\u0000b"}', 400, "invalid_query"),
        ('{"query": "a\\ud800b"}', 400, "invalid_query"),
        ('{"query": "x", "k": 0}', 400, "invalid_query"),
        ('{"query": "x", "k": 10000000}', 400, "invalid_query"),
        ('{"query": "x", "offset": -1}', 400, "invalid_query"),
        ('{"query": "x", "fusion": "best"}', 400, "invalid_query"),
        ('{"query": "x", "fusion": {"alpha": 2}}', 400, "invalid_query"),
        ('{"query": "x", "legs": []}', 400, "invalid_query"),
        ('{"query": "play^-1"}', 400, "invalid_query"),
        ('{"query": "x", "emphasis": {"y": 2}}', 400, "invalid_control"),
        ('{"query": "x", "emphasis": {"x": -20}}', 400, "invalid_control"),
        ('{"query": "x", "controls": [{"start": 5, "length": 1, "factor": 1}]}', 400, "invalid_control"),
        ('{"query": "x", "controls": [{"start": 0, "length": 0, "factor": 1}]}', 400, "invalid_control"),
        ('{"query": "x", "steering": {"contextual_threshold": 3}}', 400, "invalid_control"),
        ('{"query": "x", "filter": {"colour": "red"}}', 400, "invalid_filter"),
        ('{"query": "x", "filter": {"price": {"near": 3}}}', 400, "invalid_filter"),
        ('{"query": "x", "filter": {"price": "cheap"}}', 400, "invalid_filter"),
        ('{"query": "x", "filter": {"price": {"lt": NaN}}}', 400, "invalid_filter"),
        ('{"query": "x", "filter": {"\\ud800": 1}}', 400, "invalid_filter"),
        ('{"query": "x", "controls": [{"start": 0, "length": 1, "factor": NaN}]}', 422, "malformed_request"),
        ('{"query": "x", "emphasis": {"x": Infinity}}', 422, "malformed_request"),
        ('{"query": "x", "emphasis": {"x": 1e999}}', 422, "malformed_request"),
        ('{"query": "x", "legs": ["sparks"]}', 422, "malformed_request"),
        ('{"query": "x", "k": "10"}', 422, "malformed_request"),
        ('{"query": "x", "kk": 1}', 422, "malformed_request"),
        ('{"query": "x", "\\ud800": 1}', 422, "malformed_request"),
        ('{"query": 1}', 422, "malformed_request"),
        ('{"query": "x"', 422, "malformed_request"),
        ("[" * 100_000, 400, "malformed_request"),
        ("[]", 422, "malformed_request"),
        ("", 422, "malformed_request"),
    ],
)  # fmt: skip
def test_bad_searches_are_refused_with_a_reason(client: TestClient, body: str, status: int, code: str) -> None:
    error = error_of(client.post(SEARCH, content=body, headers={"Content-Type": "application/json"}), status)
    assert error["code"] == code
    assert error["message"]


def test_unusual_queries_are_answered(client: TestClient) -> None:
    stop_words = client.post(SEARCH, json={"query": "the of and"}).json()
    assert stop_words["sparse_silent"] is True
    assert len(stop_words["hits"]) == 3
    long = client.post(SEARCH, json={"query": "play " * 2000}).json()
    assert long["truncated_inputs"] == ["query"]
    for query in ("شغل الألعاب", "e\u0301t\u0301", "🎮👩‍👩‍👧 play", "ゲームをする"):
        assert client.post(SEARCH, json={"query": query, "explain": "words"}).status_code == 200


def test_collections_are_checked(client: TestClient) -> None:
    exists = error_of(client.post("/v1/collections", json={"name": "goods"}), 409)
    assert exists["code"] == "collection_exists"
    for name in ("", "a b", "é", "a/b", "x" * 129, "\ud800"):
        body = json.dumps({"name": name})
        response = client.post("/v1/collections", content=body, headers={"Content-Type": "application/json"})
        assert error_of(response, 400)["code"] == "invalid_settings"
    settings: list[dict[str, Any]] = [{"language": "xx"}, {"b": 2}, {"passage_tokens": 0}, {"fields": {"a": "colour"}}]
    codes = [
        client.post("/v1/collections", json={"name": "n", "settings": one}).status_code for one in settings
    ]  # fmt: skip
    assert codes == [400, 400, 400, 422]
    near = error_of(client.post("/v1/collections/godos/search", json={"query": "x"}), 404)
    assert "did you mean 'goods'?" in near["message"]
    assert client.delete("/v1/collections/goods").status_code == 204
    assert client.get("/v1/collections").json() == {"collections": []}


def test_bodies_over_the_limit(make_client: Callable[..., TestClient]) -> None:
    client = make_client(limits={"body_bytes": 2000, "bulk_bytes": 3000})
    client.post("/v1/collections", json={"name": "goods"})
    assert error_of(client.post(SEARCH, json={"query": "x" * 2000}), 413)["code"] == "too_large"
    chunks = (b"[" * 500 for _ in range(5))  # without an announced length
    assert error_of(client.post(SEARCH, content=chunks), 413)["code"] == "too_large"
    bulk = "/v1/collections/goods/documents:bulk"
    assert error_of(client.post(bulk, content=b"x" * 3001), 413)["code"] == "too_large"
    line = json.dumps({"id": "1", "text": "y" * 2500})
    assert client.post(f"{bulk}?wait=true", content=line).json()["created"] == 1


def test_body_of_another_type_is_explained(client: TestClient) -> None:
    error = error_of(client.post(SEARCH, content='{"query": "x"}'), 422)
    assert "Content-Type: application/json" in error["message"]


def test_tokens_guard_the_api_and_nothing_else(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": "0123456789abcdef,fedcba9876543210"})
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic 0123456789abcdef"}):
        response = client.get("/v1/collections", headers=headers)
        assert error_of(response, 401)["code"] == "unauthorized"
        assert response.headers["WWW-Authenticate"] == "Bearer"
    accepted = client.get("/v1/collections", headers={"Authorization": "Bearer fedcba9876543210"})
    assert accepted.json() == {"collections": []}
    assert client.get("/livez").json() == {"status": "alive"}


def test_readiness_tells_when_the_database_is_gone(client: TestClient, tmp_path: Any) -> None:
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    app: Any = client.app
    app.state.wiring.database.close()
    for file in (tmp_path / "data").glob("salience.db*"):
        file.unlink()
        file.mkdir()
    gone = client.get("/readyz")
    assert (gone.status_code, gone.json()["status"]) == (503, "not_ready")
    assert gone.json()["database"] != "ok"


def test_unknown_paths_and_methods_have_the_one_shape(client: TestClient) -> None:
    assert error_of(client.get("/v1/nothing"), 404)["code"] == "not_found"
    assert error_of(client.patch("/v1/collections"), 405)["code"] == "method_not_allowed"
    given = client.get("/livez", headers={"X-Request-ID": "my-own.id"})
    assert given.headers["X-Request-ID"] == "my-own.id"
    forged = client.get("/livez", headers={"X-Request-ID": 'x" injected'})
    assert len(forged.headers["X-Request-ID"]) == 32


def test_every_error_of_the_core_has_a_status() -> None:
    from app.errors import status_of

    def below(kind: type[SalienceError]) -> list[type[SalienceError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    statuses = {kind.__name__: status_of(kind("x")) for kind in below(SalienceError)}
    assert statuses["InvalidFilter"] == 400
    assert statuses["ModelMismatch"] == 409
    assert statuses["StorageFull"] == 507
    assert statuses["StorageBusy"] == 503
    assert all(400 <= status < 600 for status in statuses.values())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"query": "x"', "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b'{"query": "\xff"}', "not valid utf-8: invalid start byte at byte 11"),
        ('{"query": "x", "k": ' + "9" * 5000 + "}", "too many digits"),
        ('{"query": "x", "limit": 3}', "unknown key 'limit'; did you mean 'k'? allowed are prompt, vector"),
        ('{"query": "x", "filtre": {}}', "did you mean 'filter'?"),
        ('{"query": "x", "steering": {"targt": "auto"}}', "steering: unknown key 'targt'; did you mean 'target'?"),
        ('{"query": "x", "fusion": {"alpha": "much"}}', "fusion.alpha: Input should be a valid number"),
    ],
)
def test_malformed_bodies_are_explained(client: TestClient, body: str | bytes, said: str) -> None:
    response = client.post(SEARCH, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    error = error_of(response, response.status_code)
    assert error["code"] == "malformed_request"
    assert said in error["message"]


def test_fusion_by_name_and_id_by_number(client: TestClient) -> None:
    found = client.post(SEARCH, json={"query": "TV", "fusion": "rrf"}).json()
    assert found["fusion"]["method"] == "rrf"
    sent = {"documents": [{"id": 7, "text": "A lamp."}]}
    assert client.post("/v1/collections/goods/documents", json=sent).json()["created"] == 1
    assert client.get("/v1/collections/goods/documents/7").json()["text"] == "A lamp."
    refused = client.post("/v1/collections/goods/documents", json={"documents": [{"id": True, "text": "A lamp."}]})
    assert error_of(refused, 422)["param"] == "documents[0].id"


def test_empty_id_in_a_path_writes_nothing(client: TestClient) -> None:
    before = client.get("/v1/collections/goods").json()["documents"]
    response = client.put("/v1/collections/goods/documents/", json={"text": "Whose?"})
    assert error_of(response, 422)["param"] == "document_id"
    assert client.get("/v1/collections/goods").json()["documents"] == before


def test_unknown_paths_and_methods_say_where_to_look(client: TestClient) -> None:
    assert "/docs" in error_of(client.post("/products/_search", json={}), 404)["message"]
    assert "allowed are POST" in error_of(client.get(SEARCH), 405)["message"]


def test_failures_name_where_the_record_was(client: TestClient) -> None:
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    lines = [{"id": "a", "text": "A fan."}, {"id": "b", "text": "A bed.", "deep": deep}]
    body = "\n".join(json.dumps(line) for line in lines)
    report = client.post("/v1/collections/goods/documents:bulk?wait=true", content=body).json()
    assert (report["created"], report["failed"]) == (1, 1)
    failure = report["errors"][0]
    assert (failure["path"], failure["line"], failure["id"]) == ("body", 2, "b")
    assert "nested deeper" in failure["reason"]
