"""What the door takes for a request, it gives back when that is over, however it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from app.main import create_app
from core.errors import StorageBusy
from tests.app.access.conftest import House
from tests.app.answers import error_of
from tests.waiting import until

SEARCH = "/v1/collections/docs/search"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SEARCH, {"query": "radio"}, 200),
        (SEARCH, {"query": ""}, 400),
        (SEARCH, {"quest": "radio"}, 422),
        ("/v1/collections/none/search", {"query": "radio"}, 404),
    ],
)
def test_a_search_that_is_over_makes_room_for_the_next(house: House, path: str, body: Any, status: int) -> None:
    house.collection(house.operator, "docs", [{"id": "a", "text": "A radio."}])
    key = house.key(limits={"concurrent_searches": 1})
    for _ in range(2):
        assert house.ask(key, "POST", path, json=body).status_code == status
    known = house.parts.keyring.caller(key)
    assert known is not None
    with house.parts.limiter.admitted(known, searches=True):  # one is going on
        error_of(house.ask(key, "POST", path, json=body), 429)
    assert house.ask(key, "POST", path, json=body).status_code == status, "the refused one took no room"


def test_where_the_keys_cannot_be_read_strangers_learn_when_to_come_again_and_not_where_the_data_lies(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.collection(house.operator, "docs")

    def locked() -> None:
        raise StorageBusy("data directory /srv/secret/place: another process holds the lock; wait for it")

    monkeypatch.setattr(house.parts.database, "read", locked)
    until(lambda: not house.parts.keyring.fresh)
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/v1/collections", None),
        ("POST", SEARCH, {"query": "radio"}),
        ("POST", "/v1/embeddings", {"model": "default", "input": "radio"}),
        ("DELETE", "/v1/collections/docs", None),
    ]
    for key in (None, "wrong", house.operator):
        for method, path, body in asked:
            answer = house.ask(key, method, path, json=body)
            assert answer.status_code == 503
            error = answer.json()["error"]  # each API has a shape of its own
            assert (error["code"], error["message"]) == ("storage_busy", StorageBusy().message), path
            assert answer.headers["Retry-After"] == "1", path


def test_a_body_of_whoever_is_not_known_is_refused_as_all_else(house: House) -> None:
    told = [house.ask("wrong", "GET", "/v1/collections"), house.ask("wrong", "POST", SEARCH, json={"query": "radio"})]
    assert [error_of(answer, 401)["code"] for answer in told] == ["unauthorized"] * 2
    assert [answer.headers["WWW-Authenticate"] for answer in told] == ["Bearer"] * 2


def test_below_a_prefix_everything_is_as_without(open_house: Callable[..., House]) -> None:
    house = open_house(limits={"prompt_bytes": 2000, "body_bytes": 4000})
    house.collection(house.operator, "docs", [{"id": "a", "text": "A radio."}])
    inner = create_app(house.parts)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    outer = Starlette(routes=[Mount("/below", inner)], lifespan=lifespan)
    bulk = "\n".join(json.dumps({"id": f"{number}", "text": "long " * 100}) for number in range(20))
    asked: list[tuple[str, str, Any]] = [
        ("POST", SEARCH, json.dumps({"query": "radio"})),
        ("POST", "/v1/collections/docs/documents:bulk?wait=true", bulk),  # larger than any other body may be
        ("POST", "/v1/embeddings", json.dumps({"model": "default", "input": "x " * 1500})),  # over its own limit
        ("POST", "/semantic_embed", "{"),
        ("POST", "/api/data/embedding/version/2", "{}"),
        ("GET", "/metrics", None),
        ("GET", "/v1/nothing", None),
    ]
    with TestClient(outer, raise_server_exceptions=False) as client:
        for key in (house.operator, None):
            headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
            for method, path, body in asked:
                there = house.client.request(method, path, content=body, headers=headers)
                below = client.request(method, f"/below{path}", content=body, headers=headers)
                assert below.status_code == there.status_code, (path, there.text[:300], below.text[:300])
                if below.status_code >= 400:
                    assert below.json().keys() == there.json().keys(), path
        headers = {"Authorization": f"Bearer {house.operator}"}
        assert client.post(f"/below{SEARCH}%0A", json={"query": "radio"}, headers=headers).status_code == 404
        found = client.post(f"/below{SEARCH}", json={"query": "radio"}, headers=headers)
        assert found.json()["hits"][0]["document_id"] == "a"


def test_what_a_key_lacks_is_said(house: House) -> None:
    tenants = house.key("admin", tenant="acme")
    refused = error_of(house.ask(tenants, "GET", "/v1/admin/keys"), 403)["message"]
    assert refused == "this requires an operator key: one without a tenant, collection patterns or a row filter"
    refused = error_of(house.ask(house.key("search"), "POST", "/v1/collections", json={"name": "docs"}), 403)["message"]
    assert refused == "this requires a key with the role admin; this key has the role search"
