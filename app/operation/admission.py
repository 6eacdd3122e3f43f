"""Admission control: bounded queues (lanes) in front of all work; requests beyond them are refused at once.

Health and metrics endpoints bypass the queues. A request takes a place only once its body, or the beginning of a long
one, has arrived, so a slow sender costs a connection and not a place. A request whose client disconnects while waiting
is not served; if it disconnects while being served, the work is cancelled at its next step.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext

from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import RequestTimeout
from app.headers import header
from app.operation.lanes import Lane, Left
from app.parameters import comes_last
from app.routepath import route_path
from core.context import Awaited, after_others, awaited
from core.errors import InvalidInput, SalienceError
from retriever.query import MAX_TIMEOUT_MS

HEALTH = frozenset(("/livez", "/readyz", "/metrics"))  # need neither a place nor a thread of the pool
TIMEOUT_HEADER = "salience-timeout-ms"
READ_AHEAD = 64 * 2**10  # bytes of a body that are read before a request takes a place
ARRIVAL_SECONDS = 60.0  # for these bytes to arrive
_DOCUMENTS = re.compile(r"/v1/collections/[^/]*/documents\b(?!:count)")

Answer = Callable[[Request, SalienceError], Response]


class Admission:
    """Middleware that admits requests to their lanes. It is the innermost one: app/main.py says why."""

    def __init__(self, app: ASGIApp, lanes: Mapping[str, Lane], answer: Answer) -> None:
        """`lanes`: "search", "write" and "nice". `answer`: makes the response to an error."""
        self._app = app
        self._lanes = lanes
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in HEALTH:
            await self._app(scope, receive, send)
            return
        arrived = time.monotonic()
        scope.setdefault("state", {})["arrived"] = arrived
        try:
            seconds = seconds_given(scope)
            until = None if seconds is None else arrived + seconds
            last = comes_last(scope)
            arriving = _Arriving(receive)
            try:
                await arriving.read_ahead()
                if arriving.refused is not None:  # unauthenticated, or the body is invalid: no place needed
                    await self._app(scope, arriving.receive, send)
                    return
                lane = self._lanes[lane_of(scope, last=last)]
                lane.check_room()
                answer = Awaited(until)
                arriving.watch(answer)
                left = None if until is None else until - time.monotonic()
                async with lane.place(arriving.gone, left):
                    with awaited(answer), after_others() if last else nullcontext():
                        await self._app(scope, arriving.receive, send)
            finally:
                arriving.close()
        except Left:
            scope["state"]["left"] = True  # for the request's line in the log, and the metrics
        except SalienceError as error:  # raised here: the application answers its own errors
            await self._answer(Request(scope), error)(scope, receive, send)


class _Arriving:
    """A request's ASGI messages: reads the first ones ahead, and watches for a disconnect once all have arrived.

    Watching takes a task, and ending it a turn of the event loop, so it starts only when the lane has room.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._answer: Awaited | None = None
        self._ahead: deque[Message] = deque()
        self._whole = False
        self._watch: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self.refused: HTTPException | None = None  # raised while the body was read ahead

    async def read_ahead(self) -> None:
        """Read the body, or its first READ_AHEAD bytes; an HTTPException is kept in `refused`.

        Raises Left if the client disconnects, and RequestTimeout after ARRIVAL_SECONDS.
        """
        read, more = 0, True
        until = asyncio.get_running_loop().time() + ARRIVAL_SECONDS
        try:
            async with asyncio.timeout_at(until):
                while more and read < READ_AHEAD:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Left
                    self._ahead.append(message)
                    read, more = read + len(message.get("body", b"")), message.get("more_body", False)
        except HTTPException as error:
            self.refused = error
            return
        except TimeoutError:
            raise RequestTimeout(f"the body did not come within {ARRIVAL_SECONDS:g} seconds; send it again") from None
        self._whole = not more

    def watch(self, answer: Awaited) -> None:
        """Give up `answer` when the client disconnects, which is watched for once the whole body has arrived."""
        self._answer = answer
        if self._whole:
            self._watch = asyncio.ensure_future(self._watched())

    async def receive(self) -> Message:
        if self._ahead:
            return self._ahead.popleft()
        if self.refused is not None:
            raise self.refused
        if self._watch is not None:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
        elif not message.get("more_body", False):
            self._watch = asyncio.ensure_future(self._watched())
        return message

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _watched(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if self._answer is not None:
            self._answer.give_up()
        self.gone.set()


def lane_of(scope: Scope, *, last: bool) -> str:
    """Return the request's lane. Writes, and requests to be served `last`, may wait long: searches have their own."""
    if last:
        return "nice"
    writes = scope["method"] in ("POST", "PUT", "PATCH", "DELETE") and _DOCUMENTS.match(route_path(scope))
    return "write" if writes else "search"


def seconds_given(scope: Scope) -> float | None:
    """Return the timeout in seconds that the request sets by its header, None without one.

    Raises InvalidInput unless it is an integer from 1 to MAX_TIMEOUT_MS milliseconds.
    """
    given = header(scope, TIMEOUT_HEADER.encode())
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= MAX_TIMEOUT_MS):
        raise InvalidInput(f"{TIMEOUT_HEADER}: must be 1 to {MAX_TIMEOUT_MS} milliseconds", param=TIMEOUT_HEADER)
    return int(given) / 1000
