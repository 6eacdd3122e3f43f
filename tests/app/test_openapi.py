"""Every example of the API's documentation runs; what the documentation allows never ends in a 5xx."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import schemathesis
from hypothesis import strategies as st
from starlette.testclient import TestClient

TOKEN = "a-token-of-these-tests"
ORDER = ("create_collection", "upsert_documents")  # what the other examples build on


def examples(openapi: dict[str, Any]) -> Iterator[tuple[str, str, str, str, bytes, str]]:
    """(operation, name, method, path, body, content type) of every example of a body."""
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parameters = {
                p["name"]: p["schema"]["examples"][0] for p in operation.get("parameters", []) if p["in"] == "path"
            }
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                bodies = {name: json.dumps(found["value"]) for name, found in content.get("examples", {}).items()}
                if "example" in content:
                    bodies["example"] = content["example"]
                assert bodies, f"{method} {path} shows no example"
                for name, body in bodies.items():
                    yield operation["operationId"], name, method, path.format(**parameters), body.encode(), kind


def test_every_example_runs(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": TOKEN})  # without it, the key that one of them makes would be asked for
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    found = sorted(
        examples(client.get("/openapi.json").json()),
        key=lambda example: ORDER.index(example[0]) if example[0] in ORDER else len(ORDER),
    )
    answers = {}
    for operation, name, method, path, body, kind in found:
        response = client.request(method, path, content=body, headers={"Content-Type": kind})
        assert response.status_code in (200, 201, 202), f"{operation} {name}: {response.text}"
        answers[operation, name] = response.json()
    assert len(answers) >= 10
    assert answers["search", "filtered"]["hits"]
    assert answers["search", "boosted"]["controls"] == answers["search", "emphasis"]["controls"]
    assert answers["explain", "hit"]["hits"][0]["id"] == 1
    assert answers["bulk_documents", "example"]["total"] == 2


def test_every_operation_is_described(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{method} {path}: {parameter['name']}"


def test_every_field_of_a_search_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchRequest", "ExplainRequest", "ControlBody", "SteeringBody", "FusionBody"):
        for field, schema in schemas[name]["properties"].items():
            found = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            assert found.get("description") or schema.get("description"), f"{name}.{field}"


def test_nothing_that_is_sent_ends_in_a_5xx(make_client: Callable[..., TestClient]) -> None:
    """Requests drawn from the documentation, well formed and broken ones, against the real application."""
    client = make_client(auth={"tokens": TOKEN})
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app).exclude(operation_id="bulk_documents")
    seen: set[int] = set()

    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
        def attempt(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
            seen.add(response.status_code)
            assert response.status_code < 500, f"{case.method} {case.path}: {response.text}"

        attempt()
    assert {200, 404} <= seen


def test_no_bytes_sent_in_bulk_end_in_a_5xx(client: TestClient) -> None:
    lines = st.text(max_size=50).map(lambda text: f'{{"text": "{text}"}}'.encode())

    @hypothesis.given(body=st.binary(max_size=200) | lines)
    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
    def attempt(body: bytes) -> None:
        response = client.post("/v1/collections/goods/documents:bulk?wait=true", content=body)
        if response.status_code == 400:  # what cannot be read to its end is refused as a whole
            assert response.json()["error"]["code"] == "unreadable_file"
            return
        assert response.status_code == 200, response.text
        report = response.json()
        assert report["failed"] == len(report["errors"])

    attempt()


def test_every_operation_under_v1_declares_the_bearer_token(make_client: Callable[..., TestClient]) -> None:
    paths = make_client().get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation.get("security", []) == ([{"HTTPBearer": []}] if path.startswith("/v1/") else [])
