"""A running server: the queue's order, bodies that are too large or break off, and what the log keeps to itself."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.request
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.app.aleph_alpha.conftest import Deployment

PASSAGE = "A passage of many words that a model has to read while other requests wait for their turn. " * 12
LIMIT = 64 * 2**20


def post(deployment: Deployment, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {deployment.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(deployment.address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, Any] = json.load(response)
        return found


def connect(deployment: Deployment) -> socket.socket:
    host = urlsplit(deployment.address)
    return socket.create_connection((host.hostname or "", host.port or 0), timeout=30)


def head(deployment: Deployment, *lines: str, token: str | None = None) -> bytes:
    given = ("Content-Type: application/json", f"Authorization: Bearer {token or deployment.token}", *lines)
    return "\r\n".join(("POST /semantic_embed HTTP/1.1", "Host: localhost", *given, "", "")).encode()


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and body of the response."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = dict(line.split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
        return status, json.loads(stream.read(int(headers[b"content-length"])))


def in_flight(deployment: Deployment, passages: int, *, nice: bool) -> list[int]:
    """Sends eight equal requests, one after the other, before any is answered; their numbers as they were answered.

    The second one is the nice one: without that, it would be among the first.
    """
    order: list[int] = []
    body = {"model": "default", "representation": "document", "prompts": [PASSAGE] * passages}

    def ask(number: int) -> None:
        suffix = "?nice=true" if nice and number == 1 else ""
        post(deployment, f"/batch_semantic_embed{suffix}", body)
        order.append(number)

    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(ask, number)
            time.sleep(0.02)
    return order


def passages_of(deployment: Deployment, seconds: float) -> int:
    """How many passages the server embeds in about that time, 2 to 100."""
    body = {"model": "default", "representation": "document", "prompts": [PASSAGE] * 4}
    post(deployment, "/batch_semantic_embed", body)
    started = time.perf_counter()
    post(deployment, "/batch_semantic_embed", body)
    return min(100, max(2, round(4 * seconds / (time.perf_counter() - started))))


def test_a_nice_request_is_answered_behind_all_others(deployment: Deployment) -> None:
    """Once in four times at least: who has waited for a second, on a busy machine, may have one batch before others."""
    passages = passages_of(deployment, 0.1)
    assert any(in_flight(deployment, passages, nice=False)[-1] != 1 for _ in range(4))
    assert any(in_flight(deployment, passages, nice=True)[-1] == 1 for _ in range(4))


def test_a_nice_request_alone_is_served(deployment: Deployment) -> None:
    body = {"model": "default", "representation": "query", "prompt": "hello"}
    assert post(deployment, "/semantic_embed?nice=true", body) == post(deployment, "/semantic_embed", body)


def test_many_nice_requests_do_not_keep_others_out(deployment: Deployment) -> None:
    """More of them than the server has threads: those that only wait must not hold one."""
    passages = passages_of(deployment, 0.1)
    body = {"model": "default", "representation": "document", "prompts": [PASSAGE] * passages}
    with ThreadPoolExecutor(60) as pool:
        nice = [pool.submit(post, deployment, "/batch_semantic_embed?nice=true", body) for _ in range(60)]
        assert wait(nice, timeout=60, return_when=FIRST_COMPLETED).done
        post(deployment, "/semantic_embed", {"model": "default", "representation": "query", "prompt": "hello"})
        assert sum(each.done() for each in nice) < 20
        assert all(each.result() for each in nice)


def test_a_connection_outlives_the_pauses_of_clients(deployment: Deployment) -> None:
    """They keep theirs for 5 s: a server that closes it then may meet a request that is on its way."""
    body = json.dumps({"model": "default", "representation": "query", "prompt": "hello"}).encode()
    with connect(deployment) as connection:
        for pause in (6.0, 0.0):
            connection.sendall(head(deployment, f"Content-Length: {len(body)}") + body)
            assert answer(connection)[0] == 200
            time.sleep(pause)


@pytest.mark.parametrize("size", [LIMIT + 1, 65 * 2**20])
def test_a_body_that_is_announced_too_large_is_not_read(deployment: Deployment, size: int) -> None:
    with connect(deployment) as connection:
        connection.sendall(head(deployment, f"Content-Length: {size}") + b'{"model":')
        status, error = answer(connection)
    assert (status, error["code"]) == (413, "TOO_LARGE")
    assert str(LIMIT) in error["error"]


def test_the_token_is_checked_before_the_body_is_sent(deployment: Deployment) -> None:
    for size in (100, 65 * 2**20):
        with connect(deployment) as connection:
            connection.sendall(head(deployment, f"Content-Length: {size}", token="not-a-token"))
            status, error = answer(connection)
        assert (status, error["code"]) == (401, "UNAUTHORIZED")


def test_a_body_that_was_not_read_leaves_the_connection_in_order(deployment: Deployment) -> None:
    host = urlsplit(deployment.address)
    body = json.dumps({"model": "default", "representation": "query", "prompt": "hello"}) + " " * 20 * 2**20
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
    statuses = []
    for token in ("not-a-token", deployment.token, "not-a-token", deployment.token):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/semantic_embed", body, headers)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert statuses == [401, 200, 401, 200]


def test_a_body_that_turns_out_too_large_is_not_read_to_its_end(deployment: Deployment) -> None:
    chunk = b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n"
    with connect(deployment) as connection:
        connection.sendall(head(deployment, "Transfer-Encoding: chunked"))
        for _ in range(65):
            connection.sendall(chunk)
        status, error = answer(connection)  # and the last chunk was never sent
    assert (status, error["code"]) == (413, "TOO_LARGE")


def test_a_body_that_stops_half_way_harms_nobody(deployment: Deployment) -> None:
    for sent in (b'{"model":"default","representation":"query",', b""):
        with connect(deployment) as connection:
            connection.sendall(head(deployment, "Content-Length: 1000") + sent)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    body = {"model": "default", "representation": "query", "prompt": "still there"}
    assert post(deployment, "/semantic_embed", body)["num_tokens_prompt_total"] == 2


def test_the_log_keeps_texts_and_secrets_to_itself(deployment: Deployment) -> None:
    secret = "a-word-that-no-log-may-hold"
    bad = {"model": secret, "representation": secret, "prompt": secret}
    for body in ({**bad, "model": "default", "representation": "query"}, bad):
        request = urllib.request.Request(
            f"{deployment.address}/semantic_embed",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {deployment.token}", "Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
    with connect(deployment) as connection:
        connection.sendall(head(deployment, "Content-Length: 100", token=secret))
        answer(connection)
    for text in (secret, deployment.token, "Traceback", PASSAGE[:20]):
        assert text not in deployment.log
    events = [json.loads(line) for line in deployment.log.splitlines() if line.startswith("{")]
    assert {event["status"] for event in events if event["event"] == "request"} >= {200, 400, 401, 413}
    assert not [event for event in events if event["level"] == "error"]
