"""Names in a query string that no parameter has."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

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
