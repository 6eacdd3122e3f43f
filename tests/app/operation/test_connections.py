"""Connections that dawdle, against a real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server

from app.operation import connections as module
from app.operation.connections import HEAD_BYTES, PIPELINED, Connections, Guarded
from tests.waiting import until

HEAD_SECONDS = 1.0  # where a test is about that
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LARGE = 64 * 2**20  # more than the kernel's buffers take


@contextmanager
def serving(
    *, most: int = 100, head_seconds: float = 60.0
) -> Iterator[tuple[Callable[[], socket.socket], Connections]]:
    """A way to connect to a server, and what it knows of its connections."""
    connections = Connections(most=most, head_seconds=head_seconds)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = LARGE if scope["path"] == "/large" else 2
        await PlainTextResponse("x" * size)(scope, receive, send)

    protocol: Any = connections.protocol
    server = Server(Config(app, http=protocol, log_config=None, lifespan="off", timeout_keep_alive=60))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = listener.getsockname()
    try:
        yield lambda: socket.create_connection(address, timeout=30), connections
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


def until_closed(client: socket.socket) -> None:
    """Returns when the server has closed the connection, long before any limit of 60 s ends it."""
    with suppress(ConnectionResetError):
        while client.recv(65_536):
            pass


def answered(client: socket.socket) -> bool:
    client.sendall(REQUEST)
    return client.recv(1024).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"GET", REQUEST[:-2]])
def test_a_head_that_does_not_come_in_time_ends_its_connection(begun: bytes) -> None:
    with serving(head_seconds=HEAD_SECONDS) as (connect, connections):
        began = time.monotonic()
        with connect() as client:
            client.sendall(begun)
            until_closed(client)
        assert time.monotonic() - began > HEAD_SECONDS * 0.9
        assert len(connections) == 0


def test_dripping_does_not_help() -> None:
    def drip(client: socket.socket) -> None:
        while time.monotonic() - began < 30:
            client.sendall(b"X")
            time.sleep(0.05)

    with serving(head_seconds=HEAD_SECONDS) as (connect, _), connect() as client:
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(client)


def test_requests_one_after_the_other_each_have_their_time() -> None:
    with serving(head_seconds=HEAD_SECONDS) as (connect, _), connect() as client:
        for _ in range(3):
            assert answered(client)
            time.sleep(HEAD_SECONDS * 0.6)
        assert answered(client)
        client.sendall(REQUEST[:10])
        until_closed(client)


def test_a_new_connection_takes_the_room_of_the_one_that_was_idle_for_longest() -> None:
    with serving(most=3) as (connect, connections), connect() as first, connect() as second, connect() as third:
        for client in (first, second, third):
            assert answered(client)
        assert answered(first)  # so the second is the oldest now
        with connect() as fourth:
            assert answered(fourth)
            until_closed(second)
            assert answered(first)
            assert answered(third)
            assert len(connections) == 3


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.3)
    with serving() as (connect, connections), connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(1)
        until(lambda: len(connections) == 0)


def test_an_answer_that_is_read_slowly_is_sent_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 1.0)
    with serving() as (connect, _), connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        size, began = 0, time.monotonic()
        while part := client.recv(2**21):
            size += len(part)
            time.sleep(0.04)
        assert size > LARGE
        assert time.monotonic() - began > 1.0


def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    with serving(most=500) as (connect, connections):
        clients = [connect() for _ in range(1000)]
        try:
            with connect() as honest:
                assert answered(honest)
            assert len(connections) <= 500
        finally:
            for client in clients:
                client.close()


FLOODS = {
    "a field": b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + 2000),
    "fields": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * HEAD_BYTES,
    "a path": b"GET /" + b"a" * (HEAD_BYTES + 2000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_head_without_end_is_refused(kind: str) -> None:
    with serving() as (connect, connections), connect() as client:
        assert answered(client)
        client.sendall(FLOODS[kind])
        assert client.recv(1024).startswith(b"HTTP/1.1 431 ")
        until_closed(client)
        assert len(connections) == 0


def test_fields_behind_a_body_have_the_same_bounds() -> None:
    body = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    for behind in (b"X: a\r\n" * HEAD_BYTES, b"X: " + b"a" * (4 * HEAD_BYTES), b"X" * (4 * HEAD_BYTES)):
        with serving() as (connect, _), connect() as client:
            with suppress(OSError):
                client.sendall(body + behind)
            until_closed(client)


def test_a_large_head_within_the_bounds_and_a_large_body_are_taken() -> None:
    head = b"POST / HTTP/1.1\r\nHost: here\r\nX: " + b"a" * (HEAD_BYTES - 100) + b"\r\n"
    for rest in (
        b"Content-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n%s\r\n" % (b"x" * 1024) * 5000 + b"0\r\n\r\n",
    ):
        with serving() as (connect, _), connect() as client:
            client.sendall(head + rest)
            assert client.recv(1024).startswith(b"HTTP/1.1 200")


def test_requests_far_ahead_of_their_answers_end_the_connection() -> None:
    with serving() as (connect, connections), connect() as client:
        client.sendall(REQUEST * PIPELINED)
        received = b""
        while received.count(b"HTTP/1.1 200") < PIPELINED:
            part = client.recv(65_536)
            assert part, "the server ended the connection"
            received += part
        with suppress(OSError):
            client.sendall(REQUEST * 5000)
        until_closed(client)
        assert len(connections) == 0


def test_only_a_head_that_comes_in_parts_needs_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Guarded] = []
    expect = Guarded._expect_head
    monkeypatch.setattr(Guarded, "_expect_head", lambda self: (begun.append(self), expect(self)))
    with serving(head_seconds=HEAD_SECONDS) as (connect, _), connect() as client:
        assert answered(client)
        of_the_connection = len(begun)
        assert [answered(client) for _ in range(5)] == [True] * 5
        assert len(begun) == of_the_connection
        client.sendall(REQUEST[:10])
        time.sleep(HEAD_SECONDS / 4)
        client.sendall(REQUEST[10:])
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        assert len(begun) == of_the_connection + 1
        client.sendall(REQUEST[:10])
        until_closed(client)
