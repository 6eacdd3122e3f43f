"""Who may do what: every route, as every kind of caller. What is expected stands here, not in the table of rules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from app.access.door import Door, check_rules
from app.access.limits import Limiter
from app.access.rules import RULES, rule_key
from embedder.local import LocalEncoder
from tests.app.access.conftest import House
from tests.app.test_openapi import examples

# By operation: the role that it takes. A test holds that no operation is left out.
ROLES = {
    "search": """
        list_collections get_collection get_collection_stats list_documents get_document count_documents search
        search_batch explain replay
    """,
    "ingest": """
        upsert_documents put_document change_document bulk_documents delete_document delete_documents list_jobs get_job
        get_job_errors cancel_job retry_job
    """,
    "admin": """
        create_collection change_collection delete_collection create_key list_keys revoke_key rotate_key list_audit
        list_reindexes start_reindex get_reindex switch_reindex rollback_reindex cancel_reindex clean_up_reindex
        list_aliases get_alias set_alias delete_alias
    """,
}
PUBLIC = {"livez", "readyz"}
OPERATORS = {
    "create_key", "list_keys", "revoke_key", "rotate_key", "list_audit",
    "list_aliases", "get_alias", "set_alias", "delete_alias",
}  # fmt: skip
UNSAFE_FOR_ROWS = {
    "create_collection", "change_collection", "delete_collection", "get_collection_stats", "upsert_documents",
    "put_document", "change_document", "bulk_documents", "list_jobs", "get_job", "get_job_errors", "cancel_job",
    "retry_job",
}  # fmt: skip
OF_ONE_JOB = {"get_job", "get_job_errors", "cancel_job", "retry_job"}
ORDER = ("search", "ingest", "admin")
TEXTS = [{"id": "radio-1", "text": "A radio for the kitchen, and games.", "metadata": {"price": 49, "branch": "north"}}]


@dataclass(frozen=True)
class Case:
    """A kind of caller."""

    key: str | None
    role: str | None  # None: not known
    sees: bool = True  # the collection that is asked for
    operator: bool = False  # may do everything
    full_names: bool = False  # has no tenant: it calls a tenant's collections by their full names
    rows: bool = False


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    body: bytes
    media_type: str


@pytest.fixture(scope="module")
def everyone(
    encoder: LocalEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[House, dict[str, Case]]]:
    directory: Path = tmp_path_factory.mktemp("matrix") / "data"
    with House(directory, encoder) as house:
        cases = {
            "no key": Case(None, None),
            "no key of ours": Case("something", None),
            "a wrong secret": Case(house.key("admin")[:-3] + "xyz", None),
            "expired": Case(_expired(house), None),
            "revoked": Case(_revoked(house), None),
            "the operator": Case(house.operator, "admin", operator=True, full_names=True),
        }
        owner = house.key("admin", tenant="acme")
        for role in ORDER:
            cases |= {
                f"{role}, own tenant": Case(house.key(role, tenant="acme"), role),
                f"{role}, own tenant, by pattern": Case(house.key(role, tenant="acme", collections=["art*"]), role),
                f"{role}, other tenant": Case(house.key(role, tenant="beta"), role, sees=False),
                f"{role}, other names": Case(house.key(role, tenant="acme", collections=["x*"]), role, sees=False),
                f"{role}, operator's": Case(house.key(role, collections=["acme~*", "new-*"]), role, full_names=True),
            }
        for role in ("search", "ingest"):
            key = house.key(role, tenant="acme", filter={"branch": "north"})
            cases[f"{role}, some documents"] = Case(key, role, rows=True)
        house.collection(owner, "articles", TEXTS)
        yield house, cases


def _expired(house: House) -> str:
    for lifetime in (0.5, 4, 32):  # seconds: one that is over before the request arrives is refused
        expiry = time.time() + lifetime
        given = {"name": "a key", "role": "admin", "expires_at": datetime.fromtimestamp(expiry, UTC).isoformat()}
        answer = house.ask(house.operator, "POST", "/v1/admin/keys", json=given)
        if answer.status_code == 201:
            break
    made = str(answer.json()["key"])
    time.sleep(max(0.0, expiry - time.time()) + 0.1)
    return made


def _revoked(house: House) -> str:
    made = house.made("admin")
    assert house.ask(house.operator, "DELETE", f"/v1/admin/keys/{made['id']}").status_code == 200
    return str(made["key"])


def operations(house: House) -> list[Operation]:
    """One request for each operation of the API, by the examples of its own documentation."""
    openapi = house.client.get("/openapi.json").json()
    bodies = {
        operation: (body, media_type) for operation, _, _, _, body, media_type in reversed(list(examples(openapi)))
    }
    found = []
    for path, methods in openapi["paths"].items():
        for method, described in methods.items():
            values = {
                p["name"]: p["schema"]["examples"][0] for p in described.get("parameters", []) if p["in"] == "path"
            }
            body, media_type = bodies.get(described["operationId"], (b"", "application/json"))
            found.append(Operation(described["operationId"], method.upper(), path.format(**values), body, media_type))
    return found


def role_of(operation: str) -> str:
    [role] = [role for role, named in ROLES.items() if operation in named.split()]
    return role


def test_every_operation_has_its_role(everyone: tuple[House, dict[str, Case]]) -> None:
    house, _ = everyone
    named = {name for names in ROLES.values() for name in names.split()}
    assert {operation.id for operation in operations(house)} == named | PUBLIC


def test_each_route_as_each_caller(everyone: tuple[House, dict[str, Case]]) -> None:
    house, cases = everyone
    tried = 0
    for operation in operations(house):
        for name, case in cases.items():
            tried += 1
            asked, collection = _prepared(house, operation, case)
            answer = house.ask(
                case.key, asked.method, asked.path, content=asked.body, headers={"Content-Type": asked.media_type}
            )
            code = answer.json()["error"]["code"] if answer.status_code >= 400 else "done"
            label = f"{operation.id} as {name}: {answer.status_code} {answer.text[:300]}"
            expected = _expected(operation.id, case, spoken_of=collection)
            if expected == (404, "collection_not_found") and code == "reindex_not_found":
                code = "collection_not_found"  # of a collection that is not there, there was no reindex, either
            if expected is not None:
                assert (answer.status_code, code) == expected, label
            else:
                assert answer.status_code not in (401, 403, 500), label
                hidden = {"collection_not_found", "job_not_found", "key_not_found"}
                assert code not in hidden or operation.id == "set_alias", label  # to a collection of its example
            if answer.status_code == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer", label
    assert tried >= 400


def _expected(operation: str, case: Case, *, spoken_of: bool) -> tuple[int, str] | None:
    """Status and code; None: it is let in."""
    if operation in PUBLIC:
        return None
    if case.role is None:
        return 401, "unauthorized"
    if ORDER.index(case.role) < ORDER.index(role_of(operation)):
        return 403, "forbidden"
    if operation in OPERATORS and not case.operator:
        return 403, "forbidden"
    if case.rows and operation in UNSAFE_FOR_ROWS:
        return 403, "forbidden"
    if operation == "create_collection" and not case.sees:
        return None
    if not case.sees and spoken_of:
        return 404, "job_not_found" if operation in OF_ONE_JOB else "collection_not_found"
    return None


def _prepared(house: House, operation: Operation, case: Case) -> tuple[Operation, bool]:
    """The request with what it needs in place; whether it speaks of the tenant's collection."""
    path, body = operation.path, operation.body
    prefix, owner = "acme~" if case.full_names else "", house.operator
    if house.ask(owner, "GET", "/v1/collections/acme~articles").status_code == 404:  # the row before has deleted it
        house.collection(house.key("admin", tenant="acme"), "articles", TEXTS)
    path = path.replace("/jobs/1", f"/jobs/{_job(house)}")
    if operation.id in ("revoke_key", "rotate_key") and case.operator:
        path = path.replace("/keys/1", f"/keys/{house.made()['id']}")
    if operation.id == "create_collection":
        names = "x" if not case.sees else "art" if not prefix else "new-"
        body = json.dumps({"name": f"{names}{time.monotonic_ns()}"}).encode()
    if operation.id == "replay":
        body = body.replace(b'"articles"', f'"{prefix}articles"'.encode())
    path = path.replace("/collections/articles", f"/collections/{prefix}articles")
    spoken_of = "/collections/" in path or operation.id == "replay" or operation.id in OF_ONE_JOB
    return Operation(operation.id, operation.method, path, body, operation.media_type), spoken_of


def _job(house: House) -> int:
    """The number of the tenant's job, which is done."""
    known = house.ask(house.operator, "GET", "/v1/jobs", params={"collection": "acme~articles", "limit": 1}).json()
    if not known["jobs"]:
        path = "/v1/collections/acme~articles/documents?wait=false"
        known["jobs"] = [house.ask(house.operator, "POST", path, json={"documents": TEXTS}).json()]
        house.parts.worker.finish(known["jobs"][0]["id"])
    return int(known["jobs"][0]["id"])


def test_what_is_another_tenants_is_told_apart_from_nothing_by_nothing(
    everyone: tuple[House, dict[str, Case]],
) -> None:
    house, cases = everyone
    if house.ask(house.operator, "GET", "/v1/collections/acme~articles").status_code == 404:
        house.collection(house.key("admin", tenant="acme"), "articles", TEXTS)
    admin = [case for name, case in cases.items() if name in ("admin, other tenant", "admin, other names")]
    compared = 0
    for operation in operations(house):
        if "/collections/articles" not in operation.path:
            continue
        for case in admin:
            answers = [
                house.ask(
                    case.key,
                    operation.method,
                    operation.path.replace("/articles", f"/{name}"),
                    content=operation.body,
                    headers={"Content-Type": operation.media_type, "X-Request-ID": "the-same"},
                )
                for name in ("articles", "nowheres")
            ]
            there, nowhere = (answer.text.replace("nowheres", "articles") for answer in answers)
            assert answers[0].status_code == answers[1].status_code == 404
            assert there == nowhere
            assert {k: v for k, v in answers[0].headers.items() if k != "date"} == dict(answers[1].headers)
            compared += 1
    assert compared >= 26


def test_the_public_apis_take_a_key_that_searches(everyone: tuple[House, dict[str, Case]]) -> None:
    house, cases = everyone
    application: Any = house.client.app
    outside = [
        (method, (route.path or "").replace(":path", ""))
        for route in iter_route_contexts(application.routes)
        if isinstance(route.original_route, APIRoute)
        and rule_key(route.operation_id, route.endpoint).partition(".")[0] in ("openai", "aleph_alpha", "vikingdb")
        for method in sorted(route.methods or ())
    ]
    assert len(outside) >= 20
    for method, path in outside:
        for name, case in cases.items():
            answer = house.ask(case.key, method, path.format(name="default", model="default"), json={})
            if case.role is None:
                assert answer.status_code == 401, f"{method} {path} as {name}: {answer.text}"
            else:
                assert answer.status_code not in (401, 403, 500), f"{method} {path} as {name}: {answer.text}"


def test_pages_are_open_to_everybody_and_metrics_to_keys_that_are_no_tenants(
    everyone: tuple[House, dict[str, Case]],
) -> None:
    house, cases = everyone
    for path in ("/", "/docs", "/openapi.json", "/livez", "/readyz"):
        assert house.ask(None, "GET", path).status_code == 200
        assert house.ask("wrong", "GET", path).status_code == 200
    for name, case in cases.items():
        told = house.ask(case.key, "GET", "/readyz").json()
        if case.operator:
            assert "collections in memory" in str(told["checks"]), name
        else:
            nothing = {"problems": [], "database": None, "model": None, "checks": []}
            assert told == {"status": "ready", **nothing}, name
    assert house.ask(None, "GET", "/metrics").status_code == 401
    assert house.ask(cases["admin, own tenant"].key, "GET", "/metrics").status_code == 403
    assert house.ask(house.key("search"), "GET", "/metrics").status_code == 200


@pytest.mark.parametrize(
    ("path", "operation", "door", "says"),
    [
        ("/v1/new", "something_new", True, "/v1/new has no rule: say in .* who may use 'something_new'"),
        ("/v1/new", "search", True, "the scope collection of 'search' does not fit the path"),
        ("/v1/{collection}/new", "list_keys", True, "the scope operator of 'list_keys' does not fit the path"),
        ("/v1/new", "list_keys", False, "'list_keys' is operator, and has no door"),
        ("/v1/new", "livez", True, "'livez' is public, and has a door"),
    ],
)
def test_a_route_without_its_rule_or_door_does_not_start(path: str, operation: str, door: bool, says: str) -> None:
    router = APIRouter()

    @router.get(path, operation_id=operation)
    def something() -> None: ...

    application = FastAPI()
    application.include_router(router, dependencies=[Depends(Door(Limiter))] if door else [])
    with pytest.raises(ValueError, match=says):
        check_rules(application)


def test_no_rule_is_of_no_route(everyone: tuple[House, dict[str, Case]]) -> None:
    house, _ = everyone
    application: Any = house.client.app
    served = {
        rule_key(route.operation_id, route.endpoint)
        for route in iter_route_contexts(application.routes)
        if isinstance(route.original_route, APIRoute)
    }
    assert served == set(RULES)
