"""A real HTTP server that speaks the three APIs, and misbehaves on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from core.records import Float32Array
from embedder.remote.identity import PROBE_TEXT

DIMENSION = 8
VERSION = "2026-01"


@dataclass
class Received:
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]  # lower-case names
    raw: bytes
    at: float  # time.monotonic

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def texts(self) -> list[str]:
        """Every text that was to be embedded, in order."""
        body = self.body
        if "input" in body:
            return list(body["input"])
        if "data" in body:
            return [item.get("text", "") for item in body["data"]]
        prompts = body.get("prompts") or [body["prompt"]]
        return ["".join(item["data"] for item in prompt if item["type"] == "text") for prompt in prompts]

    @property
    def is_probe(self) -> bool:
        """Whether it asks who is there, and nothing else."""
        return [text.endswith(PROBE_TEXT) for text in self.texts] == [True]


Fault = Callable[["Handler", bytes], None]


@dataclass
class Remote:
    """The server's model, its faults to come, and what it received."""

    url: str = ""
    seed: int = 1  # another seed is another model
    version: str = VERSION
    noise: float = 0.0  # added to every number of a vector
    faults: deque[Fault] = field(default_factory=deque)  # one for each of the next requests but first probes
    change: Callable[[Any], Any] = lambda answer: answer  # of every answer but to a probe alone
    refuses_probes: bool = False
    refuses: Callable[[Received], bool] = lambda request: False
    refusal: int = 422  # the status of what it `refuses`
    delay: Callable[[Received], float] = lambda request: 0.0  # seconds before an answer
    received: list[Received] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def asked(self) -> list[Received]:
        """What was received beside probes alone."""
        return [request for request in self.received if not request.is_probe]

    def vector(self, text: str) -> Float32Array:
        """The model: a vector of length about 3 that depends on the text and the seed."""
        digest = hashlib.sha256(f"{self.seed} {text}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        vector = rng.normal(size=DIMENSION)
        noise = np.random.default_rng().normal(size=DIMENSION) * self.noise
        return (3 * vector / np.linalg.norm(vector) + noise).astype(np.float32)

    def unit(self, text: str) -> Float32Array:
        vector = self.vector(text)
        return vector / np.linalg.norm(vector)

    def answer(self, request: Received) -> Any:
        vectors = [self.vector(text) for text in request.texts]
        tokens = sum(len(text.split()) for text in request.texts)
        if request.path.endswith("/v1/embeddings"):
            base64s = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
            data = [{"object": "embedding", "index": i, "embedding": b} for i, b in enumerate(base64s)]
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            return {"object": "list", "data": data[::-1], "model": self.version, "usage": usage}
        if request.path.endswith("/version/2"):
            sparse = [{word: 0.5 + i / 10 for i, word in enumerate(text.split())} for text in request.texts]
            data2: dict[str, Any] = {"sentence_dense_embedding": [vector.tolist() for vector in vectors]}
            if request.body["model"]["params"]["return_sparse"]:
                data2["sentence_sparse_embedding"] = sparse
            data2["token_usage"] = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
            return {"code": 0, "message": "success", "request_id": "r", "data": data2}
        common = {"model_version": self.version, "num_tokens_prompt_total": tokens}
        if "prompt" in request.body:
            return {**common, "embedding": vectors[0].tolist()}
        return {**common, "embeddings": [vector.tolist() for vector in vectors]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        remote = self.server.remote
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(path=self.path, headers=headers, raw=raw, at=time.monotonic())
        with remote.lock:
            remote.received.append(request)
            remote.in_flight += 1
            remote.most_in_flight = max(remote.most_in_flight, remote.in_flight)
            fault = remote.faults.popleft() if remote.faults and not request.is_probe else None
        try:
            time.sleep(remote.delay(request))
            answer = remote.answer(request)
            answer = answer if request.is_probe else remote.change(answer)
            if request.is_probe and remote.refuses_probes:
                fault = status(400, {"error": "there is no such model"})
            if remote.refuses(request):
                fault = status(remote.refusal, {"error": "this will not do"})
            (fault or send_json)(self, json.dumps(answer).encode())
        except (BrokenPipeError, ConnectionResetError):  # the client went away, as some tests want
            self.close_connection = True
        finally:
            with remote.lock:
                remote.in_flight -= 1

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    remote: Remote
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # connections that the tests break on purpose


@contextmanager
def serving(remote: Remote, certificate: Path | None = None) -> Iterator[Remote]:
    """The remote at an address of this machine; `certificate`: with its key, for https."""
    server = Server(("127.0.0.1", 0), Handler)
    server.remote = remote
    scheme = "http"
    if certificate is not None:
        scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    remote.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield remote
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


def send_json(handler: Handler, answer: bytes) -> None:
    handler.send(200, answer)


def status(code: int, body: object = None, **headers: str) -> Fault:
    """Answer with a status and nothing else."""
    content = b"" if body is None else json.dumps(body).encode()
    return lambda handler, answer: handler.send(code, content, **headers)


def reset(handler: Handler, answer: bytes) -> None:
    """Close the connection with a TCP reset, without an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile = _Closed()  # type: ignore[assignment]


def half_a_body(handler: Handler, answer: bytes) -> None:
    """Announce the whole answer, send half of it, close."""
    handler.send_response_only(200)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer[: len(answer) // 2])
    handler.close_connection = True


def half_a_body_unannounced(handler: Handler, answer: bytes) -> None:
    """Half the answer, the end of which only the closed connection tells."""
    handler.send_response_only(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(answer[: len(answer) // 2])
    handler.close_connection = True


def drip(handler: Handler, answer: bytes) -> None:
    """A byte every 50 ms: never silent for long, never done."""
    handler.send_response_only(200)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    for byte in answer:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


def later(seconds: float, fault: Fault) -> Fault:
    """The fault after a while."""

    def late(handler: Handler, answer: bytes) -> None:
        time.sleep(seconds)
        fault(handler, answer)

    return late


class _Closed:
    """A stream of a connection that is gone."""

    closed = True

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass
