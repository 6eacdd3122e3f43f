"""Run `salience serve` as a process that is killed and restarted, with a client that retries its requests."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.processes import START_SECONDS, free_port, started

_TIMEOUT_SECONDS = 120.0


class Unanswered(Exception):
    """No answer: the server is down, or was killed before it answered."""


class Server:
    """A server that runs during its `with` block."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.down: list[tuple[float, float]] = []  # from each kill to the first answer after it, by time.monotonic
        self.killed_at: float | None = None  # by time.monotonic, while it is down
        self.up = threading.Event()
        self._data_dir = data_dir
        self._environment = environment
        self._stack = ExitStack()
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def kill(self) -> None:
        """Kill the process by SIGKILL, start it again, and wait until it is ready."""
        self.up.clear()
        self.killed_at = time.monotonic()
        self._process.kill()
        self._process.wait()
        self._start()
        self.down.append((self.killed_at, time.monotonic()))
        self.killed_at = None

    def was_down(self, begin: float, end: float) -> bool:
        """Whether the server was down at any moment between the two times."""
        spans = [*self.down, *([] if self.killed_at is None else [(self.killed_at, end)])]
        return any(begin <= last and first <= end for first, last in spans)

    def _start(self) -> None:
        serve = ("serve", "--port", str(self.port))
        self._process = self._stack.enter_context(
            started(*serve, data_dir=self._data_dir, environment=self._environment)
        )
        ends = time.monotonic() + START_SECONDS
        with closing(Client(self)) as client:
            while not client.ready():
                if time.monotonic() > ends or self._process.poll() is not None:
                    raise RuntimeError((self._data_dir.parent / "serve.log").read_text()[-4000:])
                time.sleep(0.05)
        self.up.set()


class Client:
    """One connection, for use by one thread. Close it after use."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: http.client.HTTPConnection | None = None

    def once(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request; the answer's status and JSON. Raises Unanswered."""
        kind, content = "application/json", None
        if isinstance(body, bytes):
            kind, content = "application/x-ndjson", body
        elif body is not None:
            content = json.dumps(body).encode()
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=_TIMEOUT_SECONDS)
            self._connection = connection
        try:
            connection.request(method, path, content, {"Content-Type": kind} if content is not None else {})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered from error
        return response.status, json.loads(answer or b"null")

    def ready(self) -> bool:
        """Whether the server answers /readyz with 200."""
        try:
            return self.once("GET", "/readyz")[0] == 200
        except Unanswered:
            return False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def insist(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Like `once`, repeated until the server answers. Raises TimeoutError after START_SECONDS."""
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            try:
                return self.once(method, path, body)
            except Unanswered:
                self._server.up.wait(0.05)
        raise TimeoutError(f"{method} {path}: no answer")

    def done(self, method: str, path: str, body: object = None) -> Any:
        """Like `insist`, but returns the JSON only. Raises RuntimeError where the answer is not a success."""
        status, answer = self.insist(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer


def bring_in(client: Client, collection: str, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Load the documents, given by id, in one job; returns when all are searchable."""
    lines = "\n".join(json.dumps({"id": id, **fields}) for id, fields in documents.items())
    job = client.done("POST", f"/v1/collections/{collection}/documents:bulk", lines.encode())["id"]
    while (state := client.done("GET", f"/v1/jobs/{job}"))["state"] != "done":
        if state["state"] in ("failed", "cancelled"):
            raise RuntimeError(f"the job ended: {state}")
        time.sleep(0.5)
