"""The body of a bulk request as a file that is read while it arrives. Only one chunk is held in memory."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import AsyncIterator

import anyio
from anyio import from_thread
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from app.operation.pace import SLOWEST_BYTES, Pace
from core.errors import TooLarge

UPLOADS_AT_ONCE = 8  # each takes a thread; further ones wait
IDLE_SECONDS = 60.0  # that a client may send nothing
ENCODINGS = ("", "identity", "gzip", "x-gzip")


class Upload(io.RawIOBase):
    """A readable file, to be used in a worker thread that the request's event loop started.

    A read raises HTTPException if the client disconnects (400), or sends nothing or too slowly (408), and TooLarge
    beyond `limit` bytes.
    """

    def __init__(self, request: Request, *, limit: int) -> None:
        """Raises HTTPException (415) for an unknown content encoding."""
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise HTTPException(415, f"Content-Encoding {encoding!r:.40} is not known; send gzip, or none")
        self._chunks: AsyncIterator[bytes] = request.stream()
        self._limit = limit
        self._pace = Pace(idle_seconds=IDLE_SECONDS, slow_seconds=IDLE_SECONDS)
        self._pending = memoryview(b"")
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's WriteableBuffer
        if not self._pending:
            self._pending = memoryview(from_thread.run(self._next))
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def digest(self, *parts: str | None) -> bytes:
        """SHA-256 of everything read so far, and of `parts`."""
        whole = self._hash.copy()
        whole.update(repr(parts).encode("utf-8", "backslashreplace"))
        return whole.digest()

    async def _next(self) -> bytes:
        """The next chunk; empty at the end."""
        began = time.monotonic()
        left = self._pace.left()
        try:
            with anyio.fail_after(left):
                chunk = b""
                while not chunk:
                    chunk = await anext(self._chunks)
        except StopAsyncIteration:
            return b""
        except ClientDisconnect:
            raise HTTPException(400, "the body breaks off before its end; nothing of it was kept") from None
        except TimeoutError:
            idle = self._pace.idle_seconds
            slow = f"fewer than {SLOWEST_BYTES} bytes a second came" if left < idle else "nothing came"
            raise HTTPException(408, f"{slow} for {idle:.0f} seconds; nothing was kept") from None
        self._pace.took(time.monotonic() - began, len(chunk))
        if self._pace.received > self._limit:
            raise TooLarge(f"the body is larger than {self._limit} bytes; send it in parts")
        self._hash.update(chunk)
        return chunk
