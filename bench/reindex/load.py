"""The load during a reindex: clients that search, and one that writes and remembers what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.reindex.server import Client, Server, Unanswered

NAME = "bench"
SEARCHING = 4
HITS = 10
WRITTEN = 300  # documents that the writer puts and deletes
BASE = 'kind = "base"'  # the initial documents, which do not change
_PAUSE_SECONDS = 0.2  # of the writer
_PATH = f"/v1/collections/{NAME}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A search that was answered."""

    begin: float  # by time.monotonic
    end: float
    query: str  # its id
    dense: bool  # dense leg only, over the initial documents
    answer: Mapping[str, Any]


def search_body(text: str, *, dense: bool) -> dict[str, Any]:
    """The JSON body of a search; with `dense`, dense leg only, over the initial documents."""
    body: dict[str, Any] = {"query": text, "k": HITS}
    return {**body, "legs": ["dense"], "filter": BASE} if dense else body


class Searching:
    """Clients that search in a closed loop from `start` to `end`."""

    def __init__(self, server: Server, queries: Mapping[str, str]) -> None:
        self.asked: list[Asked] = []
        self.failed: list[str] = []
        self.retried = 0  # searches that were repeated because the server was down
        self._server = server
        self._queries = queries
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(SEARCHING)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def times(self, begin: float, end: float) -> dict[str, float]:
        """Milliseconds of the searches between the two times, without those during which the server was down."""
        spans = [asked.end - asked.begin for asked in self.asked if begin <= asked.begin and asked.end <= end
                 and not self._server.was_down(asked.begin, asked.end)]  # fmt: skip
        if not spans:
            return {"searches": 0}
        found = {f"p{part}": round(1000 * float(np.quantile(spans, part / 100)), 1) for part in (50, 95, 99)}
        return {"searches": len(spans), **found, "slowest": round(1000 * max(spans), 1)}

    def _ask(self, number: int) -> None:
        with closing(Client(self._server)) as client:
            self._ask_by(client, random.Random(number))

    def _ask_by(self, client: Client, chance: random.Random) -> None:
        order, turn = list(self._queries), 0
        chance.shuffle(order)
        while not self._over.is_set():
            query, dense = order[turn // 2 % len(order)], turn % 2 == 0
            body, begin = search_body(self._queries[query], dense=dense), time.monotonic()
            try:
                status, answer = client.once("POST", f"{_PATH}/search", body)
            except Unanswered:
                if self._server.was_down(begin, time.monotonic()):
                    self.retried += 1
                else:
                    self.failed.append("the connection was closed")
                self._server.up.wait(1.0)
                continue
            turn += 1
            if status == 200 and not answer["timed_out"]:
                self.asked.append(Asked(begin=begin, end=time.monotonic(), query=query, dense=dense, answer=answer))
            else:
                self.failed.append(f"{status} {answer}"[:300])


class Writing:
    """One client that puts and deletes documents, from `start` to `end`."""

    def __init__(self, server: Server, texts: Sequence[str]) -> None:
        self.expected: dict[str, str | None] = {}  # text last acknowledged, by id; None: deleted
        self.counted: Counter[str] = Counter()
        self.refused: list[str] = []
        self.slowest = 0.0  # seconds of the slowest write while the server was up
        self._server = server
        self._texts = texts
        self._chance = random.Random(11)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def start(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def lost(self) -> list[str]:
        """Ids whose document differs from what was acknowledged, or is not found by its own text.

        Call it only while nothing is written.
        """
        with closing(Client(self._server)) as client:
            return [id for id, text in sorted(self.expected.items()) if not self._is_there(client, id, text)]

    def _is_there(self, client: Client, id: str, text: str | None) -> bool:
        status, answer = client.insist("GET", f"{_PATH}/documents/{id}")
        if (answer["text"] if status == 200 else None) != text:
            return False
        if text is None:
            return True
        body = {"query": text[:200], "k": 5, "legs": ["dense"], "filter": f"number = {id.rpartition('-')[2]}"}
        hits = client.done("POST", f"{_PATH}/search", body)["hits"]
        return [hit["document_id"] for hit in hits] == [id]

    def _write(self) -> None:
        with closing(Client(self._server)) as client:
            while not self._over.wait(_PAUSE_SECONDS):
                self._write_one(client)

    def _write_one(self, client: Client) -> None:
        number = self._chance.randrange(WRITTEN)
        id, begin = f"written-{number}", time.monotonic()
        path = f"{_PATH}/documents/{id}"
        if self.expected.get(id) is not None and self._chance.random() < 0.3:
            text, (status, answer) = None, client.insist("DELETE", path)
            good = status in (204, 404)  # 404: an earlier try deleted it, but the server was killed before answering
        else:
            text = f"{self._chance.choice(self._texts)[:300]} number {self._chance.randrange(10**9)}"
            body = {"text": text, "metadata": {"number": number, "kind": "written"}}
            status, answer = client.insist("PUT", path, body)
            good = status == 200
        end = time.monotonic()
        if not self._server.was_down(begin, end):
            self.slowest = max(self.slowest, end - begin)
        if good:
            self.expected[id] = text
            self.counted["deleted" if text is None else "put"] += 1
        else:
            self.refused.append(f"{status} {answer}"[:300])
