"""The three servers. Each can be started in a folder of its own, filled, searched, and measured for its memory.

Memory is measured by `proportional` in bench.memory.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.operation.process import cores
from bench.memory import proportional
from bench.processes import START_SECONDS, free_port, running, serving
from bench.service.driving import Search, drive

HERE = Path(__file__).resolve().parent
_LOADED = "Application startup complete"  # logged by each of uvicorn's processes once its model is loaded


class Server(ABC):
    """A search server. Its folder is empty at first, and keeps its data from one start to the next."""

    legs: str  # the legs that it ranks by

    def __init__(self, folder: Path, model: Path, peers: Path) -> None:
        """`model`: the folder of the embedding model of all servers; `peers`: the Python with the peers installed."""
        self.folder, self.model, self.peers = folder, model, peers
        self.port = 0  # while it runs
        self._processes: list[subprocess.Popen[str]] = []

    @abstractmethod
    def running(self, processes: int) -> AbstractContextManager[None]:
        """Run the server during the block, with `processes` processes that have loaded the model and answer.

        It can only be filled if there is one process.
        """

    @abstractmethod
    def fill(self, passages: Mapping[str, str]) -> None:
        """Load the passages; returns when all of them can be found."""

    @abstractmethod
    def connect(self) -> AbstractContextManager[Search]:
        """A client with a connection of its own."""

    def searched(
        self, queries: Mapping[str, str], *, clients: int, seconds: float | None, shuffled: int | None = None
    ) -> list[dict[str, Any]]:
        """Search the server; the result of `driving.drive` of each process that runs clients."""
        return [drive(self.connect, queries, clients=clients, seconds=seconds, shuffled=shuffled)]

    def memory(self) -> int:
        """Bytes of memory that its processes use now; shared pages are counted once."""
        return sum(proportional(process.pid) for process in self._processes)

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """Send one request over a new connection; the answer's JSON. Raises OSError for a status of 400 or above."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)) as connection:
            return _answer(connection, method, path, body, kind)


class Salience(Server):
    legs = "dense and sparse"

    @contextmanager
    def running(self, processes: int) -> Iterator[None]:
        with serving("--workers", str(processes), data_dir=self.folder / "data") as (self.port, process):
            self._processes = [process]
            yield

    def fill(self, passages: Mapping[str, str]) -> None:
        settings = {"name": "passages", "settings": {"whole_documents": True, "language": "en"}}
        self.request("POST", "/v1/collections", json.dumps(settings).encode())
        lines = "\n".join(json.dumps({"id": identity, "text": text}) for identity, text in passages.items())
        path = "/v1/collections/passages/documents:bulk"
        job = self.request("POST", path, lines.encode(), "application/x-ndjson")["id"]
        while (state := self.request("GET", f"/v1/jobs/{job}"))["state"] != "done":
            if state["state"] in ("failed", "cancelled"):
                raise RuntimeError(f"the job ended: {state}")
            time.sleep(0.5)

    @contextmanager
    def connect(self) -> Iterator[Search]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

        def search(text: str) -> list[str]:
            body = json.dumps({"query": text, "k": 10}).encode()
            hits = _answer(connection, "POST", "/v1/collections/passages/search", body)["hits"]
            return [hit["document_id"] for hit in hits]

        with closing(connection):
            yield search


class Txtai(Server):
    legs = "dense and sparse"

    @contextmanager
    def running(self, processes: int) -> Iterator[None]:
        embeddings = {"path": str(self.model), "hybrid": True, "content": True}
        index = str(self.folder / "index")
        config = self.folder / "config.yml"
        # JSON is YAML
        config.write_text(json.dumps({"writable": processes == 1, "path": index, "embeddings": embeddings}))
        self.port = free_port()
        command = [self.peers, "-m", "uvicorn", "txtai.api:app", "--port", str(self.port), "--no-access-log"]
        command += ["--workers", str(processes)]
        log = self.folder / "log.txt"
        before = log.read_text().count(_LOADED) if log.exists() else 0
        with _process(command, self.folder, {"CONFIG": str(config), **_share(processes)}) as process:
            self._processes = [process]
            _until(lambda: log.read_text().count(_LOADED) - before == processes, "txtai")
            yield

    def fill(self, passages: Mapping[str, str]) -> None:
        records = [{"id": identity, "text": text} for identity, text in passages.items()]
        self.request("POST", "/add", json.dumps(records).encode())
        self.request("GET", "/index")

    @contextmanager
    def connect(self) -> Iterator[Search]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

        def search(text: str) -> list[str]:
            found = _answer(connection, "GET", f"/search?{urlencode({'query': text, 'limit': 10})}")
            return [hit["id"] for hit in found]

        with closing(connection):
            yield search


class Chroma(Server):
    legs = "dense"  # see chroma_client.py

    @contextmanager
    def running(self, processes: int) -> Iterator[None]:
        self.port = free_port()
        command = [self.peers.parent / "chroma", "run", "--path", str(self.folder / "data"), "--port", str(self.port)]
        with ExitStack() as stack:
            server = stack.enter_context(_process(command, self.folder))
            _until(self._beats, "chromadb")
            client = [self.peers, str(HERE / "chroma_client.py"), str(self.model), str(self.port)]
            self._clients = [  # these load the model
                stack.enter_context(_process(client, self.folder, _share(processes), pipes=True))
                for _ in range(processes)
            ]
            self._processes = [server, *self._clients]
            for one in self._clients:
                _line(one)  # the model is loaded
            yield

    def _beats(self) -> bool:
        try:
            self.request("GET", "/api/v2/heartbeat")
        except OSError:
            return False
        return True

    def fill(self, passages: Mapping[str, str]) -> None:
        self._ask([{"passages": passages}])

    def connect(self) -> AbstractContextManager[Search]:
        raise NotImplementedError("its clients run in the peers' environment")

    def searched(
        self, queries: Mapping[str, str], *, clients: int, seconds: float | None, shuffled: int | None = None
    ) -> list[dict[str, Any]]:
        shares = [len(range(place, clients, len(self._clients))) for place in range(len(self._clients))]
        asked = {"queries": queries, "seconds": seconds, "shuffled": shuffled}
        return self._ask([{**asked, "clients": share} for share in shares if share])

    def _ask(self, asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send one command to each of the first clients at the same time; their answers."""
        clients = self._clients[: len(asked)]
        for client, one in zip(clients, asked, strict=True):
            assert client.stdin is not None
            print(json.dumps(one), file=client.stdin, flush=True)
        return [_line(client) for client in clients]


def _line(client: subprocess.Popen[str]) -> dict[str, Any]:
    assert client.stdout is not None
    answer: dict[str, Any] = json.loads(client.stdout.readline())
    return answer


def _until(ready: Callable[[], bool], name: str) -> None:
    """Wait until `ready`. Raises TimeoutError after START_SECONDS."""
    ends = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > ends:
            raise TimeoutError(f"{name} did not start")
        time.sleep(0.2)


def _share(processes: int) -> dict[str, str]:
    """Environment variables that limit a process to its share of the cores; none if it is the only one."""
    return {} if processes == 1 else {"OMP_NUM_THREADS": str(max(cores() // processes, 1))}


def _answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    kind: str = "application/json",
) -> Any:
    """Send a request; the answer's JSON. Raises OSError for a status of 400 or above."""
    connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
    response = connection.getresponse()
    content = response.read()
    if response.status >= 400:
        raise OSError(f"{method} {path}: {response.status} {content[:500]!r}")
    return json.loads(content or b"null")


@contextmanager
def _process(
    command: list[Any], folder: Path, environment: Mapping[str, str] | None = None, *, pipes: bool = False
) -> Iterator[subprocess.Popen[str]]:
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "ANONYMIZED_TELEMETRY": "false"}
    own = {**os.environ, **offline, **(environment or {})}
    with running(command, folder, own, folder / "log.txt", pipes=pipes) as process:
        yield process
