"""Names in a query string that no parameter has."""

from __future__ import annotations

from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from app.wiring import Wiring
from core.protocols import Priority
from embedder.local import LocalEncoder

DOCUMENTS = "/v1/collections/goods/documents"


@pytest.mark.parametrize(
    ("method", "path", "name", "said"),
    [
        ("GET", f"{DOCUMENTS}?limit=3&offset=3", "offset", "'offset'; allowed are limit, after, filter, nice"),
        ("GET", f"{DOCUMENTS}?filtre=n%3D5", "filtre", "'filtre'; did you mean 'filter'? allowed are limit, after"),
        ("GET", f"{DOCUMENTS}?offset=", "offset", "'offset'; allowed are"),
        ("POST", f"{DOCUMENTS}:bulk?textfield=body", "textfield", "'textfield'; did you mean 'text_field'?"),
        ("POST", "/v1/collections/goods/search?k=1", "k", "'k'; allowed are nice"),
        ("DELETE", f"{DOCUMENTS}/tv?if_seq=3", "if_seq", "'if_seq'; allowed are nice"),
    ],
)
def test_an_unknown_query_parameter_is_refused_with_the_known_ones(
    client: TestClient, method: str, path: str, name: str, said: str
) -> None:
    body = b'{"query": "TV", "id": "x", "body": "A lamp."}'
    refused = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("malformed_request", name)
    assert f"unknown query parameter {said}" in error["message"]
    assert client.get("/v1/collections/goods").json()["documents"] == 3


@pytest.mark.parametrize(
    "path",
    [
        f"{DOCUMENTS}?limit=3&after=a&filter=price+%3E+1&nice=true",
        f"{DOCUMENTS}/tv?min_seq=0&timeout_ms=5",
        "/v1/jobs?collection=goods&state=done&limit=2&before=9",
        "/v1/models?api-version=1",  # of the OpenAI API: its clients may send what that takes
        "/models_available?more=1",
        "/readyz?verbose=1",
        "/metrics?name[]=up",
        "/?q=tv",
    ],
)
def test_known_ones_and_those_of_other_apis_are_taken(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_every_parameter_that_is_described_is_known(client: TestClient) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            asked = client.request(method, path.replace("{", "").replace("}", ""), params={"unknown-to-all": 1})
            if not path.startswith("/v1"):
                assert asked.status_code == 200
                continue
            error = asked.json()["error"]
            assert error["param"] == "unknown-to-all", f"{method} {path}"
            known = error["message"].rpartition("allowed are ")[2].split(", ")
            described = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
            assert set(known) == described | {"nice"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/collections/goods/search", {"query": "a television"}),
        ("POST", "/v1/collections/goods/search:batch", {"queries": [{"query": "a television", "timeout_ms": 60_000}]}),
        ("POST", "/v1/collections/goods/explain", {"query": "a television", "id": 1}),
        ("PUT", f"{DOCUMENTS}/lamp", {"text": "A lamp for the table."}),
        ("POST", DOCUMENTS, {"documents": [{"text": "A lamp for the desk."}]}),
        ("POST", "/v1/embeddings", {"model": "default", "input": "a lamp"}),
        ("POST", "/v1/rerank", {"query": "a lamp", "documents": ["A lamp."]}),
        ("POST", "/semantic_embed", {"model": "default", "prompt": "a lamp", "representation": "document"}),
    ],
)
def test_models_read_last_what_a_nice_request_needs(client: TestClient, method: str, path: str, body: Any) -> None:
    wiring: Wiring = client.app.state.wiring  # type: ignore[attr-defined]
    priorities: list[Priority] = []
    cast(LocalEncoder, wiring.encoder).observe(lambda ran: priorities.append(ran.priority))
    for said in ("perhaps", ""):
        refused = client.request(method, f"{path}?nice={said}", json=body)
        assert refused.status_code in (400, 422)
        assert "nice: must be true or false" in refused.text
    assert priorities == []
    assert client.request(method, f"{path}?nice=yes", json=body).status_code == 200
    assert set(priorities) == {Priority.NICE}
