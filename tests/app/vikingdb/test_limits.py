"""Bodies that are too large or never end, by plain sockets against a running server."""

from __future__ import annotations

import json
import select
import socket
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from app.api.vikingdb import MAX_BODY_BYTES
from tests.app.conftest import Server
from tests.app.vikingdb.signed import EMBEDDING, PING

CHUNK = b"%x\r\n%s\r\n" % (2**16, b" " * 2**16)
YESTERDAY = (
    "Authorization: HMAC-SHA256 Credential=AK/20240429/cn-north-1/air/request, SignedHeaders=host;x-date, "
    f"Signature={'0' * 64}"
)
SENT_AT_MOST = 32 * 2**20  # the limit and what the kernel holds on its way


def opened(server: Server) -> socket.socket:
    parts = urlsplit(server.address)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def head(server: Server, *lines: str, method: str = "POST", path: str = EMBEDDING) -> bytes:
    host = urlsplit(server.address).netloc
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def claim() -> tuple[str, ...]:
    """Headers of somebody who may have signed the request: only the body can tell."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    credential = f"AK/{stamp[:8]}/cn-north-1/air/request"
    signed = f"HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-date, Signature={'0' * 64}"
    return f"Authorization: {signed}", f"X-Date: {stamp}"


def answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and JSON of what comes until the server closes, or has said all."""
    received = b""
    while b"\r\n\r\n" not in received or not received.rstrip().endswith(b"}"):
        more = connection.recv(65536)
        if not more:
            break
        received += more
    status = int(received.split(b" ", 2)[1])
    return status, json.loads(received.partition(b"\r\n\r\n")[2])


def test_an_announced_size_is_refused_before_any_of_it_came(server: Server) -> None:
    with opened(server) as connection:
        connection.sendall(head(server, f"Content-Length: {65 * 2**20}", *claim()))
        status, body = answer(connection)
    assert (status, body["code"]) == (413, 1000003)


@pytest.mark.parametrize(("method", "path"), [("POST", EMBEDDING), ("GET", EMBEDDING), ("GET", PING)])
def test_an_endless_body_is_refused_at_the_limit(server: Server, method: str, path: str) -> None:
    sent, reply = 0, b""
    with opened(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked", *claim(), method=method, path=path))
        try:
            while sent < SENT_AT_MOST and not select.select([connection], [], [], 0)[0]:
                connection.sendall(CHUNK)
                sent += 2**16
            reply = connection.recv(65536)
        except ConnectionError:  # it has answered and closed, and the answer is lost under what was still on its way
            pass
    assert MAX_BODY_BYTES <= sent < SENT_AT_MOST
    assert reply == b"" or b" 413 " in reply.splitlines()[0]


def test_a_body_that_stops_half_way_leaves_the_server_well(server: Server) -> None:
    with opened(server) as connection:
        connection.sendall(head(server, "Content-Length: 1000", *claim()) + b'{"model": {"model_na')
    with opened(server) as connection:
        connection.sendall(head(server, "Content-Length: 2") + b"{}")
        assert answer(connection)[0] == 401
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("signed", [(), (YESTERDAY, "X-Date: 20240429T105032Z")])
def test_who_cannot_have_signed_need_not_send_the_body(server: Server, signed: tuple[str, ...]) -> None:
    with opened(server) as connection:
        connection.sendall(head(server, "Content-Length: 4000000", *signed))
        status, error = answer(connection)
    assert (status, error["code"]) == (401, 1000001)
