"""Compresses large search responses, such as those with explanations of many hits, for clients on other machines."""

from __future__ import annotations

import gzip
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.headers import header
from app.routepath import route_path

LEAST_BYTES = 65_536  # smaller responses are sent as they are: ten hits without explanations have about a fifth of it
LEVEL = 1  # higher levels take longer and save little
_EXPLAINED = re.compile(r"/v1/collections/[^/]+/(search|explain)")
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


class Compressed:
    """Middleware that sends large search responses as gzip if the client accepts it and is not on this machine."""

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
                    body = await run_in_threadpool(gzip.compress, body, LEVEL, mtime=0)  # no time: reproducible
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
    host = (scope.get("client") or ("127.0.0.1", 0))[0]  # no client: a Unix socket
    if host == "::1" or host.removeprefix("::ffff:").startswith("127."):  # also IPv4 on an IPv6 socket
        return False
    return bool(_TAKES_GZIP.search((header(scope, b"accept-encoding") or "").lower()))
