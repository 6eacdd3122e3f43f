"""What happens to every request before and after its endpoint: an id, a limit on its size, a line in the log."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Mapping

import structlog
from fastapi import HTTPException  # FastAPI lets its own ones through from a body that is being read
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STALL_SECONDS = 60.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger("salience.http")


class RequestContext:
    """Gives a request its id (`X-Request-ID`, the caller's own where it sends one) and logs how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                route = getattr(scope.get("route"), "path", None)
                milliseconds = round((time.perf_counter() - started) * 1000, 1)
                _log.info("request", method=scope["method"], route=route, status=status, took_ms=milliseconds)


class BodyLimit:
    """Answers 413 to a body over its limit, as soon as the body is asked for; so a token is checked before.

    Bodies of `:bulk` paths are streamed and watched by their endpoint. A body that breaks off is a 400, one that stops
    on its way a 408.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        by_path: Mapping[str, int] | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`limit` in bytes; `by_path` has other limits, for paths as they are; `stall_seconds` without any byte."""
        self._app = app
        self._limit = limit
        self._by_path = by_path or {}
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].endswith(":bulk"):
            await self._app(scope, receive, send)
            return
        limit = self._by_path.get(scope["path"], self._limit)
        too_large = HTTPException(413, f"the body is larger than {limit} bytes; {self._advice(scope['path'])}")
        announced = Headers(scope=scope).get("content-length", "")
        refused = announced.isdigit() and int(announced) > limit
        received, ended = 0, False

        async def watched() -> Message:
            nonlocal received, ended
            if refused:
                raise too_large
            if ended:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._stall_seconds)
            except TimeoutError:
                problem = f"no more of the body came for {self._stall_seconds:g} seconds; send it again"
                raise HTTPException(408, problem) from None
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the body breaks off before its end")
            received += len(message.get("body", b""))
            if received > limit:
                raise too_large
            ended = not message.get("more_body", False)
            return message

        await self._app(scope, watched, send)

    def _advice(self, path: str) -> str:
        return "send less at once" if path in self._by_path else "send less at once, or use documents:bulk"
