"""What a load costs those who search: the same four clients alone, and while documents come in.

Twice: with the server's own worker, and with a worker beside it that is a process of its own.
"""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.ingest.processes import started
from bench.service.driving import new_queries
from core.records import Document

TARGET = 2.0  # times the p95 of the clients alone, at most
CLIENTS = 4
_NAME = "bench"


def measure(documents: Sequence[Document], *, seconds: float, quick: bool) -> dict[str, Any]:
    """Milliseconds of a request, by where the worker is. The first documents are there before."""
    report: dict[str, Any] = {"clients": CLIENTS, "target": TARGET}
    for place in ("inside", "beside"):
        with tempfile.TemporaryDirectory() as folder:
            report[place] = _measure(Path(folder) / "data", documents, seconds, place, warm=1.0 if quick else 5.0)
    return report


def _measure(directory: Path, documents: Sequence[Document], seconds: float, place: str, warm: float) -> dict[str, Any]:
    directory.mkdir(parents=True)
    port = _free_port()
    serve = ["serve", "--port", str(port)] + (["--no-worker"] if place == "beside" else [])
    before = min(300, len(documents) // 10)
    queries = new_queries([" ".join(document.text.split()[:6]) for document in documents[:before]])
    with started(*serve, data_dir=directory):
        server = _Server(port)
        server.wait()
        server.call("POST", "/v1/collections", {"name": _NAME})
        worker = started("worker", data_dir=directory) if place == "beside" else None
        if worker is not None:
            worker.__enter__()
        try:
            server.finish(server.load(documents[:before]))
            _clients(port, queries, warm)
            alone = _clients(port, queries, seconds)
            job = server.load(documents[before:])
            server.until_running(job)
            _clients(port, queries, warm)  # until all is at full speed
            first, began = server.job(job), time.monotonic()
            loading = _clients(port, queries, seconds)
            last, took = server.job(job), time.monotonic() - began
            server.call("POST", f"/v1/jobs/{job}/cancel")
        finally:
            if worker is not None:
                worker.__exit__(None, None, None)
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

    def wait(self) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                self.call("GET", "/readyz")
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def load(self, documents: Sequence[Document]) -> int:
        lines = (json.dumps({"id": d.id, "title": d.title, "text": d.text}) for d in documents)
        job = self.call("POST", f"/v1/collections/{_NAME}/documents:bulk", raw="\n".join(lines).encode())
        return int(job["id"])

    def job(self, id: int) -> Any:
        return self.call("GET", f"/v1/jobs/{id}")

    def finish(self, id: int) -> None:
        while self.job(id)["state"] != "done":
            time.sleep(0.1)

    def until_running(self, id: int) -> None:
        while self.job(id)["state"] == "queued":
            time.sleep(0.1)


def _clients(port: int, queries: Iterator[str], seconds: float) -> dict[str, float]:
    """CLIENTS at once, each asking as soon as it is answered."""
    found: list[list[float]] = [[] for _ in range(CLIENTS)]
    until, taking = time.monotonic() + seconds, threading.Lock()

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < until:
            with taking:
                body = json.dumps({"query": next(queries)})
            began = time.perf_counter()
            connection.request(
                "POST", f"/v1/collections/{_NAME}/search", body=body, headers={"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            response.read()
            found[number].append(time.perf_counter() - began)
            if response.status != 200:
                raise RuntimeError(f"a search was answered with {response.status}")
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = 1000 * np.concatenate(found)
    return {
        "p50": float(np.quantile(times, 0.5)),
        "p95": float(np.quantile(times, 0.95)),
        "p99": float(np.quantile(times, 0.99)),
        "per_second": len(times) / seconds,
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
