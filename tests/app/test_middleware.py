"""What BodyLimit makes of bodies, and which ids requests get, without a server."""

from __future__ import annotations

import asyncio
import os
import re

import pytest
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app import middleware
from app.middleware import BodyLimit, RequestContext
from app.routepath import RouteTemplates

HALF: Message = {"type": "http.request", "body": b"{", "more_body": True}
REST: Message = {"type": "http.request", "body": b"}", "more_body": False}


def read(messages: list[Message], pause: float, *, stall_seconds: float, path: str = "/v1/search") -> bytes:
    """What an application gets of these messages, each after a pause (seconds)."""
    found = b""
    requested: Scope = {"type": "http", "path": path, "headers": []}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal found
        more = True
        while more:
            message = await receive()
            found, more = found + message["body"], message["more_body"]

    async def receive() -> Message:
        await asyncio.sleep(pause if messages else 60)
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    asyncio.run(BodyLimit(application, 100, stall_seconds=stall_seconds)(requested, receive, send))
    return found


def test_a_body_that_stops_on_its_way_is_given_up() -> None:
    with pytest.raises(HTTPException, match=r"no more of the body came for 0\.05 seconds") as error:
        read([HALF], 0, stall_seconds=0.05)
    assert error.value.status_code == 408


def test_a_slow_body_is_read_while_it_moves() -> None:
    assert read([HALF, *[HALF] * 8, REST], 0.1, stall_seconds=0.7) == b"{" * 9 + b"}"


def test_a_body_that_hardly_moves_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "SLOW_SECONDS", 0.3)
    with pytest.raises(HTTPException, match="comes too slowly; send at least 1024 bytes a second") as error:
        read([HALF] * 99, 0.05, stall_seconds=10)
    assert error.value.status_code == 408


@pytest.mark.parametrize(
    "path",
    ["/v1/collections/c/documents/x:bulk", "/v1/collections/c/search:bulk", "/v1/x/collections/c/documents:bulk"],
)
def test_only_the_bulk_endpoint_watches_its_bodies_itself(path: str) -> None:
    with pytest.raises(HTTPException, match="larger than 100 bytes") as error:
        read([*[HALF] * 101, REST], 0, stall_seconds=1, path=path)
    assert error.value.status_code == 413
    assert len(read([*[HALF] * 101, REST], 0, stall_seconds=1, path="/v1/collections/c/documents:bulk")) == 102


def test_every_request_has_an_id_of_its_own_and_the_kernel_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(count: int) -> bytes:
        raise AssertionError("this gives the interpreter's lock away")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        ids.append(scope["state"]["request_id"])

    async def unused(*_: object) -> Message:
        raise AssertionError

    monkeypatch.setattr(os, "urandom", asked)
    ids: list[str] = []
    context = RequestContext(application, lambda **_: None, RouteTemplates(list))
    for _ in range(100):
        asyncio.run(context({"type": "http", "path": "/", "method": "GET", "headers": []}, unused, unused))
    assert len(set(ids)) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
