"""Measure the latency of four searching clients, first alone and then while documents are loaded.

Twice: with the server's own worker ("inside"), and with a worker in a process of its own ("beside").
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import serving, started
from bench.service.driving import Search, drive
from core.records import Document

TARGET = 2.0  # upper limit of the p95 under load, as a multiple of that of the clients alone
CLIENTS = 4
_NAME = "bench"


def measure(documents: Sequence[Document], *, seconds: float, quick: bool) -> dict[str, Any]:
    """Milliseconds per request, by where the worker runs. The first documents are loaded before the measurement."""
    report: dict[str, Any] = {"clients": CLIENTS, "target": TARGET}
    for place in ("inside", "beside"):
        with tempfile.TemporaryDirectory() as folder:
            report[place] = _measure(Path(folder) / "data", documents, seconds, place, warm=1.0 if quick else 5.0)
    return report


def _measure(directory: Path, documents: Sequence[Document], seconds: float, place: str, warm: float) -> dict[str, Any]:
    directory.mkdir(parents=True)
    before = min(300, len(documents) // 10)
    queries = {one.id: " ".join(one.text.split()[:6]) for one in documents[:before]}
    beside = place == "beside"
    with (
        serving(*(["--no-worker"] if beside else []), data_dir=directory) as (port, _),
        started("worker", data_dir=directory) if beside else nullcontext(),
    ):
        server = _Server(port)
        server.call("POST", "/v1/collections", {"name": _NAME})
        server.finish(server.load(documents[:before]))
        _clients(port, queries, warm, 1)
        alone = _clients(port, queries, seconds, 2)
        job = server.load(documents[before:])
        server.until_running(job)
        first, began = server.job(job), time.monotonic()
        loading = _clients(port, queries, seconds, 3)
        last, took = server.job(job), time.monotonic() - began
        server.call("POST", f"/v1/jobs/{job}/cancel")
    done = first["pending"] - last["pending"]
    if last["pending"] == 0:
        raise RuntimeError("all documents were loaded before the clients had done: give more, or fewer seconds")
    return {
        "alone": alone,
        "loading": loading,
        "ratio_p95": loading["p95"] / alone["p95"],
        "documents_per_second_meanwhile": done / took,
    }


class _Server:
    def __init__(self, port: int) -> None:
        self._port = port

    def call(self, method: str, path: str, body: object = None, *, raw: bytes | None = None) -> Any:
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json" if raw is None else "application/x-ndjson")
        with urllib.request.urlopen(request, timeout=600) as response:
            return json.loads(response.read() or b"null")

    def load(self, documents: Sequence[Document]) -> int:
        lines = (json.dumps({"id": d.id, "title": d.title, "text": d.text}) for d in documents)
        job = self.call("POST", f"/v1/collections/{_NAME}/documents:bulk", raw="\n".join(lines).encode())
        return int(job["id"])

    def job(self, id: int) -> Any:
        return self.call("GET", f"/v1/jobs/{id}")

    def finish(self, id: int) -> None:
        while (state := self.job(id)["state"]) != "done":
            if state in ("failed", "cancelled"):
                raise RuntimeError(f"job {id} is {state}")
            time.sleep(0.1)

    def until_running(self, id: int) -> None:
        while self.job(id)["state"] == "queued":
            time.sleep(0.1)


def _clients(port: int, queries: Mapping[str, str], seconds: float, shuffled: int) -> dict[str, float]:
    """Milliseconds of searches by CLIENTS clients at once, each in a closed loop. Raises RuntimeError if one fails."""
    driven = drive(lambda: _client(port), queries, clients=CLIENTS, seconds=seconds, shuffled=shuffled)
    times = 1000 * np.array(driven["times"])
    return {
        "p50": float(np.quantile(times, 0.5)),
        "p95": float(np.quantile(times, 0.95)),
        "p99": float(np.quantile(times, 0.99)),
        "per_second": len(times) / driven["wall"],
    }


@contextmanager
def _client(port: int) -> Iterator[Search]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def search(text: str) -> list[str]:
        body, headers = json.dumps({"query": text}), {"Content-Type": "application/json"}
        connection.request("POST", f"/v1/collections/{_NAME}/search", body=body, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"a search was answered with {response.status}: {answer[:500]!r}")
        return [hit["document_id"] for hit in json.loads(answer)["hits"]]

    with closing(connection):
        yield search
