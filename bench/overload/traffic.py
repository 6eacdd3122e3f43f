"""Generate load on a server: closed loop (a number of clients) or open loop (a number of requests per second)."""

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

PATIENCE_SECONDS = 5.0  # after which a client gives up


@dataclass(slots=True)
class Outcome:
    """The outcome of the requests in one period of time."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)  # by status; "gave up", "broken"
    latencies: list[float] = field(default_factory=list)  # seconds, of answers of status 200
    without_advice: int = 0  # 503 without Retry-After
    own_seconds: float = 0.0  # processor time that the clients themselves took

    @property
    def own_cores(self) -> float:
        """The number of cores that the clients kept busy."""
        return self.own_seconds / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Answers with status 200 per second."""
        return self.statuses["200"] / self.seconds if self.seconds else 0.0


class Target:
    """A server at a local port, and the requests to send to it."""

    def __init__(self, port: int, collection: str, queries: Sequence[str]) -> None:
        self.port = port
        self._requests = (_search(collection, query) for query in new_queries(queries))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def next(self) -> bytes:
        """The bytes of the next search request."""
        return next(self._requests)


async def closed_loop(target: Target, clients: int, seconds: float) -> Outcome:
    """Send requests for `seconds`; each of `clients` clients sends its next one when the previous is answered."""
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
    """Send `rate` requests per second, each when it is due, whatever the answers. Idle connections are reused."""
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
    # Until the last answer: requests that are still waiting at the end count, and so does their time.
    found.seconds, found.own_seconds = time.monotonic() - begun, time.process_time() - own
    for connection in free:
        connection.close()
    return found


async def get(port: int, path: str) -> tuple[int, float, bytes]:
    """Status, seconds and body of a GET over a new connection; status 0 if there is no answer."""
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
    """A connection that is kept open between requests, and reopened if the server closed it."""

    def __init__(self) -> None:
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: Target, request: bytes) -> tuple[int, bool, bytes]:
        """The answer's status, whether it has Retry-After, and its body."""
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
    """Seconds until the server closed the connection; None if it did not."""
    begun = time.monotonic()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(seconds):
            while await reader.read(4096):
                pass
            return time.monotonic() - begun
    return None
