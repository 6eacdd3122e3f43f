"""Every example of the API's documentation runs; whatever is sent, answers are as it says, and no failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import hypothesis
import schemathesis
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from starlette.testclient import TestClient

TOKEN = "a-token-of-these-tests"
SEQUENCES = 8  # times four, or fewer
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


def in_order(openapi: dict[str, Any]) -> list[tuple[str, str, str, str, bytes, str]]:
    """The examples, those first that others build on."""
    return sorted(examples(openapi), key=lambda found: ORDER.index(found[0]) if found[0] in ORDER else len(ORDER))


def with_defaults(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """`value` as a client sends it that leaves nothing out of which the documentation gives a default, or null."""
    if "$ref" in schema:
        return with_defaults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    kinds = {dict: "object", list: "array"}
    for option in schema.get("anyOf", schema.get("oneOf", ())):
        found = schemas[option["$ref"].rpartition("/")[2]] if "$ref" in option else option
        if found.get("type") == kinds.get(type(value), ""):
            return with_defaults(value, option, schemas)
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(item, schema["items"], schemas) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    whole = dict(value)
    for name, field in schema["properties"].items():
        if name not in whole and "default" in field:
            whole[name] = field["default"]
        elif name not in whole and {"type": "null"} in field.get("anyOf", ()):
            whole[name] = None
        if name in whole:
            whole[name] = with_defaults(whole[name], field, schemas)
    return whole


@schemathesis.serializer("application/x-ndjson")
def as_ndjson(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def checked(case: Any, response: Any) -> None:
    """Raises AssertionError for an answer that is not as the documentation has it, or a failure of the server."""
    if response.status_code == 503 and response.json()["error"]["code"] == "seq_not_reached":
        return  # it waited for the change that it was asked for, which did not come
    case.validate_response(response, excluded_checks=[positive_data_acceptance, ignored_auth])


def test_every_example_runs(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": TOKEN})  # without it, the key that one of them makes would be asked for
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    answers = {}
    for operation, name, method, path, body, kind in in_order(client.get("/openapi.json").json()):
        response = client.request(method, path, content=body, headers={"Content-Type": kind})
        assert response.status_code in (200, 201, 202), f"{operation} {name}: {response.text}"
        answers[operation, name] = response.json()
    assert len(answers) >= 10
    assert answers["search", "filtered"]["hits"]
    assert answers["search", "boosted"]["controls"] == answers["search", "emphasis"]["controls"]
    assert answers["explain", "hit"]["hits"][0]["id"] == 1
    assert answers["bulk_documents", "example"]["total"] == 2


def test_every_default_may_be_sent(make_client: Callable[..., TestClient]) -> None:
    """As generated clients do."""
    client = make_client(auth={"tokens": TOKEN})
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    openapi = client.get("/openapi.json").json()
    schemas = openapi["components"]["schemas"]
    described = {found["operationId"]: found for path in openapi["paths"].values() for found in path.values()}
    added: set[str] = set()
    for operation, name, method, path, body, kind in in_order(openapi):
        if kind == "application/json" and method != "patch":  # which changes whatever it names
            schema = described[operation]["requestBody"]["content"][kind]["schema"]
            given = json.loads(body)
            whole = with_defaults(given, schema, schemas)
            added |= whole.keys() - given.keys()
            body = json.dumps(whole).encode()
        response = client.request(method, path, content=body, headers={"Content-Type": kind})
        assert response.status_code in (200, 201, 202), f"{operation} {name}: {response.text}"
    assert schemas["ReindexRequest"]["properties"]["settings"]["default"] == {}, "what is sent would be changed"
    assert {"hits_per_group", "fusion", "control_factor", "settings", "limits"} <= added


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
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    seen: set[int] = set()

    for result in schema.get_all_operations():
        operation: Any = cast(Any, result).ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
        def attempt(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
            seen.add(response.status_code)
            checked(case, response)

        attempt()
    assert {200, 404} <= seen


def test_what_was_made_can_be_used_and_removed(make_client: Callable[..., TestClient]) -> None:
    """Sequences of requests along the links of the documentation; every answer is as it says."""
    client = make_client(auth={"tokens": TOKEN})
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    schema.config.generation.update(modes=[GenerationMode.POSITIVE])
    followed: set[str] = set()
    wrong: list[str] = []

    class Sequence(schema.as_state_machine()):  # type: ignore[misc]  # made at run time
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {TOKEN}"}}

        def validate_response(self, response: Any, case: Any, *_: Any, **given: Any) -> None:
            if response.status_code < 300:
                followed.add(case.operation.definition.raw["operationId"])
            try:
                checked(case, response)
            except FailureGroup as failures:
                wrong.extend(f"{case.method} {case.path}: {failure}" for failure in failures.exceptions)

    settings = hypothesis.settings(
        max_examples=4,
        stateful_step_count=12,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    wanted = {"create_collection", "get_collection", "upsert_documents", "search", "list_documents"}
    for number in range(10 * SEQUENCES):
        if number >= SEQUENCES and followed >= wanted:
            break
        with suppress(FlakyStrategyDefinition):  # what one sequence made is there in the next, which Hypothesis minds
            hypothesis.seed(number)(Sequence).run(settings=settings)
    assert not wrong
    assert followed >= wanted


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
