"""What BodyLimit makes of bodies, without a server."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.middleware import BodyLimit

SCOPE: Scope = {"type": "http", "path": "/v1/search", "headers": []}
HALF: Message = {"type": "http.request", "body": b"{", "more_body": True}
REST: Message = {"type": "http.request", "body": b"}", "more_body": False}


def read(messages: list[Message], pause: float, *, stall_seconds: float) -> bytes:
    """What an application gets of these messages, each after a pause (seconds)."""
    found = b""

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

    asyncio.run(BodyLimit(application, 100, stall_seconds=stall_seconds)(SCOPE, receive, send))
    return found


def test_a_body_that_stops_on_its_way_is_given_up() -> None:
    with pytest.raises(HTTPException, match=r"no more of the body came for 0\.05 seconds") as error:
        read([HALF], 0, stall_seconds=0.05)
    assert error.value.status_code == 408


def test_a_slow_body_is_read_while_it_moves() -> None:
    assert read([HALF, *[HALF] * 8, REST], 0.02, stall_seconds=0.15) == b"{" * 9 + b"}"
