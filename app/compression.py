"""Reasons of many hits are large: they are compressed on their way to clients on other machines."""

from __future__ import annotations

import gzip
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.headers import header
from app.routepath import route_path

LEAST_BYTES = 65_536  # of an answer: ten hits without reasons have about a fifth of it
LEVEL = 1  # the next levels take longer and save little
_EXPLAINED = re.compile(r"/v1/collections/[^/]+/(search|explain)")
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


class Compressed:
    """Sends large answers of searches as gzip where the client takes it and is not on this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_be_compressed(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def compressing(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                body = message.get("body", b"")
                if len(body) >= LEAST_BYTES and not message.get("more_body", False):
                    body = await run_in_threadpool(gzip.compress, body, LEVEL, mtime=0)  # the same bytes each time
                    headers = MutableHeaders(scope=start)
                    headers["Content-Encoding"] = "gzip"
                    headers["Content-Length"] = str(len(body))
                    headers.add_vary_header("Accept-Encoding")
                    message = {**message, "body": body}
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, compressing)


def _may_be_compressed(scope: Scope) -> bool:
    if not _EXPLAINED.fullmatch(route_path(scope)):
        return False
    host = (scope.get("client") or ("127.0.0.1", 0))[0]  # none: a Unix socket
    if host == "::1" or host.removeprefix("::ffff:").startswith("127."):  # IPv4 at a socket of IPv6, too
        return False
    return bool(_TAKES_GZIP.search((header(scope, b"accept-encoding") or "").lower()))
