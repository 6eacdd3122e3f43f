"""Mixed load: clients of every kind, each at its own pace, on a collection whose size stays about the same."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import httpx

DOCUMENTS = 1000  # ids that are written repeatedly
EXPLAINED = 50  # hits of a search that fills the cache of traces
TRACED_AT_ONCE = 200  # hits of searches between two checks of the caches' size
ROUNDS = 20  # of such searches, at most
NAME = "soak"
_WORDS = (
    "amber boat candle desert engine forest garden harbour island jacket kitchen lantern market needle orchard paper "
    "quarry river silver tower umbrella valley window yellow zebra bread cloud dance eagle flute"
).split()
_COLOURS = ("red", "green", "blue")


class Load:
    """The clients, which run until they are cancelled; `counted` has the number of answers by client and status."""

    def __init__(self, address: str, *, pace: float = 1.0, seed: int = 7) -> None:
        self._pace = pace
        self._client = httpx.AsyncClient(base_url=address, timeout=60.0, limits=httpx.Limits(max_connections=12))
        self._address = httpx.URL(address)
        self._random = random.Random(seed)
        self.counted: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()  # by client, status and code of the error

    async def caches(self) -> float:
        """Bytes in the server's caches of its models' results, according to /metrics."""
        lines = (await self._client.get("/metrics")).text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("salience_cache_bytes{"))

    async def fill(self) -> None:
        """Create the collection and write DOCUMENTS documents."""
        await self._ask("fill", "POST", "/v1/collections", json={"name": NAME})
        for first in range(0, DOCUMENTS, 100):
            documents = [self._document(number) for number in range(first, first + 100)]
            await self._ask("fill", "POST", _path("documents"), json={"documents": documents})

    async def fill_caches(self) -> None:
        """Run explained searches until the server's caches are full.

        The clients alone would take minutes to fill the cache of queries, and half an hour for the traces of passages.
        """
        for hits in (EXPLAINED, 1):  # first the searches that fill the traces, then the ones for queries only
            kept = -1.0
            for _ in range(ROUNDS):
                for _ in range(TRACED_AT_ONCE // hits):
                    body = {"query": self._text(8), "k": hits, "explain": "words"}
                    await self._ask("fill", "POST", _path("search"), json=body)
                before, kept = kept, await self.caches()
                if kept <= before * 1.001:
                    break

    def clients(self) -> list[Awaitable[None]]:
        """The clients, as awaitables that run without end."""
        paced: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.05, self._search),
            (0.3, self._explained),
            (0.5, self._write),
            (1.0, self._delete),
            (2.0, self._bulk),
            (1.0, self._scrape),
            (0.5, self._nonsense),
            (0.5, self._leave),
            (8.0, self._lifecycle),
        ]
        return [self._every(seconds / self._pace, act) for seconds, act in paced]

    async def close(self) -> None:
        await self._client.aclose()

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            due = time.monotonic() + seconds
            try:
                await act()
            except (httpx.HTTPError, OSError) as error:
                self.unexpected[f"{act.__name__.strip('_')} {type(error).__name__}"] += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _search(self) -> None:
        body: dict[str, Any] = {"query": self._text(5), "k": self._random.choice((1, 10, 50))}
        kind = self._random.randrange(5)
        if kind == 1:
            body["filter"] = f'colour = "{self._random.choice(_COLOURS)}" and price < {self._random.randrange(100)}'
        elif kind == 2:
            body |= {"facets": ["colour"], "highlight": True, "fusion": "rrf"}
        elif kind == 3:
            body |= {"diversity": 0.3, "legs": [self._random.choice(("dense", "sparse"))]}
        elif kind == 4:
            body |= {"emphasis": {body["query"].split()[0]: 5}, "timeout_ms": self._random.choice((1, 50, 5000))}
        found = await self._ask("search", "POST", _path("search"), json=body)
        if kind == 0 and found.get("next"):
            await self._ask("page", "POST", _path("search"), json={**body, "cursor": found["next"]})

    async def _explained(self) -> None:
        query = self._text(4)
        explain = self._random.choice(("scores", "words", "contrast"))
        found = await self._ask("explain", "POST", _path("search"), json={"query": query, "k": 3, "explain": explain})
        hits = found.get("hits", [])
        if hits:
            await self._ask("replay", "POST", "/v1/replay", json={"explanation": hits[0]["explanation"]})
            await self._ask("explain", "POST", _path("explain"), 404, json={"query": query, "id": hits[0]["id"]})
        await self._ask("batch", "POST", _path("search:batch"), json={"queries": [{"query": query}, {"query": "a"}]})

    async def _write(self) -> None:
        documents = [self._document(self._random.randrange(DOCUMENTS)) for _ in range(4)]
        wait = self._random.choice(("true", "false"))
        await self._ask("write", "POST", _path(f"documents?wait={wait}"), json={"documents": documents})
        await self._ask("list", "GET", _path("documents?limit=20"))

    async def _delete(self) -> None:
        await self._ask("delete", "DELETE", _path(f"documents/d{self._random.randrange(DOCUMENTS)}"), 404)
        chosen = {"filter": f"price = {self._random.randrange(100)} and number < 100"}
        await self._ask("delete", "POST", _path("documents:delete"), json=chosen)

    async def _bulk(self) -> None:
        documents = [self._document(self._random.randrange(DOCUMENTS)) for _ in range(30)]
        body = gzip.compress("\n".join([*map(json.dumps, documents), '{"broken']).encode())
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        job = await self._ask("bulk", "POST", _path("documents:bulk"), content=body, headers=headers)
        for _ in range(20):
            found = await self._ask("job", "GET", f"/v1/jobs/{job.get('id', 1)}")
            if found.get("state") not in ("queued", "running"):
                break
            await asyncio.sleep(0.2)
        await self._ask("job", "GET", "/v1/jobs?limit=5")

    async def _scrape(self) -> None:
        for path in ("/metrics", "/livez", "/readyz", "/v1/collections", _path("stats")):
            await self._ask("scrape", "GET", path)

    async def _nonsense(self) -> None:
        path, body = self._random.choice(
            [
                (_path("search"), b'{"query": 5}'),
                (_path("search"), b"["),
                (_path("documents:bulk"), b"\xff\n\n{"),
                (f"/v1/collections/{self._text(1)}{self._random.random()}/search", b'{"query": "x"}'),
                (f"/nowhere/{self._random.random()}", b""),
            ]
        )
        await self._ask("nonsense", "POST", path, 404, 400, 422, content=body)

    async def _leave(self) -> None:
        """Send half a request, or a whole one, and disconnect without waiting for the answer."""
        _, writer = await asyncio.open_connection(self._address.host, self._address.port)
        body = json.dumps({"query": self._text(6), "k": 50, "explain": "words"}).encode()
        length = len(body) + self._random.choice((0, 100))
        head = f"POST {_path('search')} HTTP/1.1\r\nHost: soak\r\nContent-Length: {length}\r\n\r\n"
        with closing(writer):  # even if the load ends meanwhile
            writer.write(head.encode() + body)
            await writer.drain()
            await asyncio.sleep(0.01)
        self.counted["leave"] += 1

    async def _lifecycle(self) -> None:
        """Create a collection, reindex it, and delete it."""
        name = f"passing-{self._random.randrange(10**6)}"
        path = f"/v1/collections/{name}"
        await self._ask("passing", "POST", "/v1/collections", json={"name": name})
        documents = [self._document(number) for number in range(20)]
        await self._ask("passing", "POST", f"{path}/documents", json={"documents": documents})
        await self._ask("passing", "POST", f"{path}/search", json={"query": self._text(3)})
        reindex = f"/v1/admin/collections/{name}/reindex"
        request = {"settings": {"passage_tokens": 64}, "grace_seconds": 0}
        await self._ask("passing", "POST", reindex, json=request)
        for _ in range(40):
            found = await self._ask("passing", "GET", reindex)
            if found.get("state") not in ("building", "validating", "ready"):
                break
            await asyncio.sleep(0.2)
        await self._ask("passing", "POST", f"{path}/search", json={"query": self._text(3)})
        await self._ask("passing", "DELETE", path, 409)

    async def _ask(self, client: str, method: str, path: str, *expected: int, **given: Any) -> dict[str, Any]:
        """The answer's JSON; empty if it is an error, which is noted unless its status is in `expected`."""
        answer = await self._client.request(method, path, **given)
        self.counted[f"{client} {answer.status_code}"] += 1
        if answer.is_success:
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return dict(answer.json()) if is_json and answer.content else {}
        if answer.status_code not in expected:
            self.unexpected[f"{client} {answer.status_code} {_code(answer)}"] += 1
        return {}

    def _document(self, number: int) -> dict[str, Any]:
        metadata = {"colour": self._random.choice(_COLOURS), "price": self._random.randrange(100), "number": number}
        return {"id": f"d{number}", "title": self._text(3), "text": self._text(60), "metadata": metadata}

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(_WORDS, k=words))


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError):
        return "no code"


def _path(rest: str) -> str:
    return f"/v1/collections/{NAME}/{rest}"
