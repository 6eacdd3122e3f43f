"""Requests at a server: so many clients one after the other, or so many a second whatever comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.service.driving import new_queries

PATIENCE_SECONDS = 5.0  # of a client, after which it leaves


@dataclass(slots=True)
class Outcome:
    """Of requests in one stretch of time."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)  # by status; "gave up", "broken"
    latencies: list[float] = field(default_factory=list)  # seconds, of answers of status 200
    without_advice: int = 0  # 503 without Retry-After
    own_seconds: float = 0.0  # of processors, that the clients themselves took

    @property
    def own_cores(self) -> float:
        """Processors that the clients kept busy."""
        return self.own_seconds / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return self.statuses["200"] / self.seconds if self.seconds else 0.0


class Target:
    """A server at a port of this machine, and the requests that it is sent."""

    def __init__(self, port: int, collection: str, queries: Sequence[str]) -> None:
        self.port = port
        self._requests = (_search(collection, query) for query in new_queries(queries))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def next(self) -> bytes:
        return next(self._requests)


async def closed_loop(target: Target, clients: int, seconds: float) -> Outcome:
    """Each client sends its next request when it has the answer to the one before."""
    found, until, own = Outcome(), time.monotonic() + seconds, time.process_time()

    async def client() -> None:
        async with _connection(target) as connection:
            while time.monotonic() < until:
                await _once(target, connection, found)

    begun = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    found.seconds, found.own_seconds = time.monotonic() - begun, time.process_time() - own
    return found


async def open_loop(target: Target, rate: float, seconds: float) -> Outcome:
    """`rate` requests a second, sent when they are due. A client that is answered serves a later request."""
    found, free = Outcome(), list[_Connection]()
    running: set[asyncio.Task[None]] = set()

    async def send() -> None:
        connection = free.pop() if free else _Connection()
        await _once(target, connection, found)
        free.append(connection)

    begun, own = time.monotonic(), time.process_time()
    for number in itertools.count():
        due = begun + number / rate
        if due >= begun + seconds:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(send())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    # Until the last one is answered: those in line at the end count, and so does their time.
    found.seconds, found.own_seconds = time.monotonic() - begun, time.process_time() - own
    for connection in free:
        connection.close()
    return found


async def get(port: int, path: str) -> tuple[int, float, bytes]:
    """Status, seconds and body, over a connection of its own."""
    begun, connection = time.monotonic(), _Connection()
    target = Target(port, "none", [])
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, _, body = await connection.ask(target, request)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 0, time.monotonic() - begun, b""
    finally:
        connection.close()
    return status, time.monotonic() - begun, body


class _Connection:
    """Kept open between requests, opened anew where the server closed it."""

    def __init__(self) -> None:
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: Target, request: bytes) -> tuple[int, bool, bytes]:
        """Status, whether the answer says when to come back, and its body."""
        if self._streams is None or self._streams[1].is_closing() or self._streams[0].at_eof():
            self._streams = await target.connect()
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length))
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), b"\r\nretry-after:" in head, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def _connection(target: Target) -> AsyncIterator[_Connection]:
    connection = _Connection()
    try:
        yield connection
    finally:
        connection.close()


async def _once(target: Target, connection: _Connection, found: Outcome) -> None:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, advised, _ = await connection.ask(target, target.next())
    except TimeoutError:
        connection.close()
        found.statuses["gave up"] += 1
        return
    except (OSError, asyncio.IncompleteReadError):
        connection.close()
        found.statuses["broken"] += 1
        return
    found.statuses[str(status)] += 1
    if status == 200:
        found.latencies.append(time.monotonic() - begun)
    elif status == 503:
        found.without_advice += not advised


def _search(collection: str, query: str) -> bytes:
    body = json.dumps({"query": query, "k": 10}).encode()
    head = (
        f"POST /v1/collections/{collection}/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_within(reader: asyncio.StreamReader, seconds: float) -> float | None:
    """Seconds after which the server closed the connection; None: it did not."""
    begun = time.monotonic()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(seconds):
            while await reader.read(4096):
                pass
            return time.monotonic() - begun
    return None
