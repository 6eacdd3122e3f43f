"""The body of a bulk request as a file."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from app.api import uploads
from app.api.uploads import Upload
from core.errors import TooLarge


class Sender:
    """A request whose body comes in these chunks, and then ends as asked for."""

    def __init__(self, *chunks: bytes, then: str = "end", pause: float = 0.0) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = chunks
        self._then = then
        self._pause = pause  # seconds, before each of them

    async def stream(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await anyio.sleep(self._pause)
            yield chunk
        if self._then == "leave":
            raise ClientDisconnect
        if self._then == "silence":
            await anyio.sleep(60)


def read(sender: Sender, limit: int = 100) -> tuple[bytes | None, Upload]:
    async def run() -> tuple[bytes | None, Upload]:
        request: Any = sender
        upload = Upload(request, limit=limit)
        return await to_thread.run_sync(upload.readall), upload

    return anyio.run(run)


def test_chunks_are_read_to_the_end() -> None:
    content, upload = read(Sender(b"ab", b"", b"cde" * 20, b"f"))
    assert content == b"ab" + b"cde" * 20 + b"f"
    assert upload.digest("x") == hashlib.sha256(content + b"('x',)").digest()
    assert upload.digest("y") != upload.digest("x") != upload.digest(None)


def test_a_silent_sender_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.05)
    with pytest.raises(HTTPException, match="nothing came for") as caught:
        read(Sender(b"ab", then="silence"))
    assert caught.value.status_code == 408


def test_a_sender_that_leaves() -> None:
    with pytest.raises(HTTPException, match="breaks off") as caught:
        read(Sender(b"ab", then="leave"))
    assert caught.value.status_code == 400


def test_more_than_the_limit_is_not_read() -> None:
    with pytest.raises(TooLarge, match="larger than 100 bytes"):
        read(Sender(b"a" * 60, b"b" * 41, then="silence"))


def test_a_sender_that_hardly_sends_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 1.5)
    with pytest.raises(HTTPException, match="fewer than 1024 bytes a second came for") as caught:
        read(Sender(*[b"a"] * 100, pause=0.1))
    assert caught.value.status_code == 408
