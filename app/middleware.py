"""Middlewares for every request: the request id, the limit on the body's size, the line in the log."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Mapping
from random import Random
from typing import Protocol

import structlog
from fastapi import HTTPException  # FastAPI's own class: it passes through when raised while a body is read
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.caller import Caller
from app.headers import header
from app.operation.admission import HEALTH
from app.operation.pace import SLOWEST_BYTES, Pace
from app.routepath import RouteTemplates, route_path

CLIENT_LEFT = 499  # logged, as by many servers, for a request whose client disconnected before the answer
STALL_SECONDS = 60.0  # without any byte of a body until it is given up
SLOW_SECONDS = 60.0  # to wait for a body in total, plus one second for each SLOWEST_BYTES received
_BULK = re.compile(r"/v1/collections/[^/]+/documents:bulk")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_chance = Random()  # for ids, which need not be secret
HTTP_LOG = "salience.http"
_log = structlog.get_logger(HTTP_LOG)


class Answered(Protocol):
    def __call__(self, *, method: str, route: str | None, status: int, seconds: float, code: str | None) -> None: ...


class RequestContext:
    """Assigns each request its id (`X-Request-ID`, the caller's own if it sends one); logs and counts its outcome."""

    def __init__(self, app: ASGIApp, answered: Answered, templates: RouteTemplates) -> None:
        self._app = app
        self._answered = answered
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
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
                route, code = self._templates.of(scope), state.get("error_code")
                seconds = time.perf_counter() - started
                if state.get("left"):
                    status = CLIENT_LEFT
                self._answered(method=scope["method"], route=route, status=status, seconds=seconds, code=code)
                if route_path(scope) not in HEALTH:
                    log_request(method=scope["method"], route=route, status=status, seconds=seconds, code=code)


def request_id_of(scope: Scope) -> str:
    """Return the request id that the caller sent, or a new one if it sent none or an invalid one."""
    given = header(scope, b"x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else _new_id()


def log_request(*, method: str, route: str | None, status: int, seconds: float, code: str | None) -> None:
    """Log a request's line; `code` is that of its error, if any."""
    noted = {} if code is None else {"code": code}
    _log.info("request", method=method, route=route, status=status, took_ms=round(seconds * 1000, 1), **noted)


def _new_id() -> str:
    """Return a random id as long as a UUID. Not from os.urandom, which would release the interpreter's lock."""
    return f"{_chance.getrandbits(128):032x}"


class BodyLimit:
    """Middleware that answers 413 to a body over its limit.

    It does so when the body is first read, after the token was checked. A body that breaks off is a 400; one that
    stalls or arrives too slowly is a 408. Bodies of `documents:bulk` are streamed and checked by that endpoint.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        by_path: Mapping[str, int] | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`limit`: bytes; `by_path`: other limits, by exact path; `stall_seconds`: longest time without any byte."""
        self._app = app
        self._limit = limit
        self._by_path = by_path or {}
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _BULK.fullmatch(path := route_path(scope)):
            await self._app(scope, receive, send)
            return
        limit = body_limit(path, scope.get("state", {}).get("caller"), self._limit, self._by_path)
        too_large = HTTPException(413, f"the body is larger than {limit} bytes; {self._advice(path)}")
        announced = header(scope, b"content-length") or ""
        refused = announced.isdigit() and int(announced) > limit
        pace, ended = Pace(idle_seconds=self._stall_seconds, slow_seconds=SLOW_SECONDS), False

        async def watched() -> Message:
            nonlocal ended
            if refused:
                raise too_large
            if ended:
                return await receive()
            began = time.monotonic()
            left = pace.left()
            try:
                if left <= 0:
                    raise TimeoutError
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                problem = f"no more of the body came for {self._stall_seconds:g} seconds; send it again"
                if left < self._stall_seconds:
                    problem = f"the body comes too slowly; send at least {SLOWEST_BYTES} bytes a second"
                raise HTTPException(408, problem) from None
            pace.took(time.monotonic() - began, len(message.get("body", b"")))
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the body breaks off before its end")
            if pace.received > limit:
                raise too_large
            ended = not message.get("more_body", False)
            return message

        await self._app(scope, watched, send)

    def _advice(self, path: str) -> str:
        return "send less at once" if path in self._by_path else "send less at once, or use documents:bulk"


def body_limit(path: str, caller: object, limit: int, by_path: Mapping[str, int]) -> float:
    """Return the largest body in bytes: that of the path, else `limit`, and at most what the caller's key allows."""
    own = caller.rights.limits.body_bytes if isinstance(caller, Caller) else None
    return min(by_path.get(path, limit), math.inf if own is None else own)
