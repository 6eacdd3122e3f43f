"""Who finds the lane full gets the same, byte for byte, whether the application answers or the connection does."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from starlette.types import Scope
from structlog.testing import capture_logs
from uvicorn import Config, Server

from app.access import keys
from app.main import create_app
from app.operation.connections import Answer, Connections
from app.settings import load_settings
from app.wiring import Wiring
from core.access import Limits, Rights, Role
from embedder.local import LocalEncoder
from store.audit import LOCAL
from tests.app.busy import LIVEZ, SEARCH, Busy, answers_from, masked, request
from tests.waiting import until

LIMIT = 2000  # bytes of a body
OWN_LIMIT = 500  # of one key


@pytest.fixture(scope="module")
def busy(encoder: LocalEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    given: dict[str, Any] = {"limits": {"waiting_requests": 0, "body_bytes": LIMIT, "prompt_bytes": LIMIT}}
    wiring = Wiring(load_settings(data_dir=tmp_path_factory.mktemp("busy"), **given), encoder=encoder)
    wiring.build()
    limits = {"plain": Limits(), "limited": Limits(requests_per_minute=9, tokens_per_minute=99, body_bytes=OWN_LIMIT)}
    made = {
        name: keys.create(wiring.database, LOCAL, Rights(name=name, role=Role.ADMIN, limits=limit))[1]
        for name, limit in limits.items()
    }
    wiring.keyring.refresh(at_once=True)
    app, connections, at_once = create_app(wiring), Connections(most=100, head_seconds=5.0), list[Answer]()

    def refuse(scope: Scope, body_bytes: int) -> Answer | None:
        answer: Answer | None = app.state.refusals.answer(scope, body_bytes)
        at_once.extend([] if answer is None else [answer])
        return answer

    connections.at_once = refuse
    http: Any = connections.protocol
    server = Server(Config(app, http=http, log_config=None, lifespan="on", server_header=False))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    for lane in app.state.panel.lanes.values():
        lane.running = lane.at_once
    try:
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr("app.access.keyring.REFRESH_SECONDS", 3600.0)  # however slow the test
            yield Busy(listener.getsockname(), wiring, app.state.panel, connections, at_once, made)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


CHUNKED = "Transfer-Encoding: chunked"
EXPECT = ("Content-Length: 2", "Expect: 100-continue")
REFUSED: dict[str, dict[str, Any]] = {  # as arguments of `request`
    "native": {},
    "no body": {"method": "GET", "body": b"", "path": "/v1/collections"},
    "no route": {"path": "/nothing/here"},
    "HEAD": {"method": "HEAD", "body": b"", "path": "/v1/collections"},
    "a method that is none": {"method": "PURGE"},
    "a writer": {"path": "/v1/collections/goods/documents:bulk"},
    "a nice one": {"path": f"{SEARCH}?nice=true"},
    "OpenAI": {"path": "/v1/embeddings"},
    "Aleph Alpha": {"path": "/embed"},
    "VikingDB": {"path": "/api/data/embedding/version/2"},
    "below VikingDB": {"path": "/api/nothing"},
    "HTTP/1.0": {"version": "1.0"},
    "one answer": {"fields": ("Content-Length: 2", "Connection: close")},
    "in chunks": {"body": b"2\r\n{}\r\n0\r\n\r\n", "fields": (CHUNKED,)},
    "an id": {"fields": ("Content-Length: 2", "X-Request-ID: mine.1")},
    "an id that is none": {"fields": ("Content-Length: 2", 'X-Request-ID: "mine"')},
    "a time": {"fields": ("Content-Length: 2", "Salience-Timeout-Ms: 50")},
    "a body as large as may be": {"body": b"x" * LIMIT},
    "a path with signs": {"path": "/v1/collections/a%20b%7Brequest_id%7D/search"},
}
NOT_AT_ONCE: dict[str, dict[str, Any]] = {
    "asks first": {"body": b"", "fields": EXPECT},
    "asks first, and sends": {"fields": EXPECT},
    "too large": {"body": b"x" * (LIMIT + 1)},
    "too large, in chunks": {"body": b"7d1\r\n" + b"x" * (LIMIT + 1) + b"\r\n0\r\n\r\n", "fields": (CHUNKED,)},
    "a time that is none": {"fields": ("Content-Length: 2", "Salience-Timeout-Ms: soon")},
    "neither nice nor not": {"path": f"{SEARCH}?nice=perhaps"},
}


def made(given: dict[str, Any], key: str) -> bytes:
    rest = {name: value for name, value in given.items() if name not in ("path", "body", "fields")}
    return request(given.get("path", SEARCH), given.get("body", b"{}"), *given.get("fields", ()), key=key, **rest)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("key", ["plain", "limited"])
def test_the_answer_and_what_is_counted_are_those_of_the_application(busy: Busy, kind: str, key: str) -> None:
    sent = made(REFUSED[kind], busy.keys[key])
    large = key == "limited" and len(REFUSED[kind].get("body", b"")) > OWN_LIMIT
    answers, steps = list[bytes](), list[dict[Any, float]]()
    for fast in (False, True):
        before, answered = busy.counted(), len(busy.at_once)
        answers.append(busy.say(sent, fast=fast))
        _settle(busy)
        steps.append({name: value - before.get(name, 0) for name, value in busy.counted().items()})
        assert len(busy.at_once) - answered == (fast and not large), "who answered?"
    assert masked(answers[1]) == masked(answers[0])
    assert answers[0].startswith(b"HTTP/1.1 413 " if large else b"HTTP/1.1 503 ")
    assert (b"\r\nratelimit: " in answers[1]) == (key == "limited")
    assert steps[1] == steps[0]
    assert sum(steps[1].values()) == (3 if large else 4)


@pytest.mark.parametrize("kind", NOT_AT_ONCE)
def test_what_is_not_refused_for_lack_of_a_place_is_for_the_application(busy: Busy, kind: str) -> None:
    sent, before = made(NOT_AT_ONCE[kind], busy.keys["plain"]), len(busy.at_once)
    pieces = (sent, b"{}") if kind == "asks first" else (sent,)
    answers = [busy.say(*pieces, fast=fast, answers=2 if kind.startswith("asks") else 1) for fast in (False, True)]
    assert masked(answers[1]) == masked(answers[0])
    assert len(busy.at_once) == before


@pytest.mark.parametrize("key", ["", "sal_nobody"])
def test_who_is_not_known_is_told_that_and_not_that_the_server_is_busy(busy: Busy, key: str) -> None:
    for path in (SEARCH, "/v1/embeddings", "/api/data/embedding/version/2"):
        answers = [busy.say(request(path, key=key), fast=fast) for fast in (False, True)]
        assert masked(answers[1]) == masked(answers[0])
        assert answers[0].startswith(b"HTTP/1.1 401 ")


def test_health_and_metrics_are_answered(busy: Busy) -> None:
    key = busy.keys["plain"]
    for path in ("/livez", "/readyz", "/metrics"):
        assert busy.say(request(path, b"", method="GET", key=key)).startswith(b"HTTP/1.1 200 ")


def test_who_finds_a_place_is_served(busy: Busy) -> None:
    lane, before = busy.panel.lanes["search"], len(busy.at_once)
    lane.running -= 1
    try:
        assert busy.say(request("/v1/collections", b"", method="GET", key=busy.keys["plain"])).startswith(
            b"HTTP/1.1 200 "
        )
    finally:
        lane.running += 1
    assert len(busy.at_once) == before


def test_keys_that_must_be_read_first_are_the_applications_to_read(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(busy.at_once)
    monkeypatch.setattr("app.access.keyring.REFRESH_SECONDS", 0.0)
    assert busy.say(request(key=busy.keys["plain"])).startswith(b"HTTP/1.1 503 ")
    assert len(busy.at_once) == before


def test_a_request_with_a_span_is_the_applications(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(busy.at_once)
    monkeypatch.setattr(busy.panel, "tracing", object())
    assert busy.say(request(key=busy.keys["plain"])).startswith(b"HTTP/1.1 503 ")
    assert len(busy.at_once) == before


def test_bodies_of_the_refused_are_thrown_away_and_the_connection_goes_on(busy: Busy) -> None:
    one = request(body=b"GET / HTTP/1.1\r\n\r\n" * 20, key=busy.keys["plain"])
    for pieces in ((one, one, one, LIVEZ), (one * 3 + LIVEZ,), (one[:-30], one[-30:] + one, one + LIVEZ)):
        before = len(busy.at_once)
        received = busy.say(*pieces, answers=4)
        assert re.findall(rb"HTTP/1\.1 (\d+) ", received) == [b"503", b"503", b"503", b"200"]
        assert len(busy.at_once) > before


def test_answers_come_in_the_order_of_the_requests(busy: Busy) -> None:
    mine = [request(SEARCH, b"{}", "Content-Length: 2", f"X-Request-ID: n{n}", key=busy.keys["plain"]) for n in (1, 2)]
    received = busy.say(mine[0] + LIVEZ + mine[1] + LIVEZ, answers=4)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", received) == [b"503", b"200", b"503", b"200"]
    assert re.findall(rb"x-request-id: (n\d)", received) == [b"n1", b"n2"]


def test_what_is_no_request_behind_a_refused_one_ends_the_connection_as_ever(busy: Busy) -> None:
    sent = request(key=busy.keys["plain"]) + b"\x00\x01 nothing\r\n\r\n"
    answers = [busy.say(sent, fast=fast, answers=9) for fast in (False, True)]
    assert masked(answers[1]) == masked(answers[0])
    assert b"HTTP/1.1 400 " in answers[0]


def test_a_connection_that_was_refused_is_idle_again(busy: Busy) -> None:
    with socket.create_connection(busy.address, timeout=10) as client:
        before = len(busy.at_once)
        for _ in range(3):
            client.sendall(request(key=busy.keys["plain"]))
            assert answers_from(client, 1)
        assert len(busy.at_once) == before + 3, "the application was not asked"
        [one] = busy.connections._idle
        assert not one._answering
        assert one.timeout_keep_alive_task is not None


def test_requests_of_one_turn_of_the_loop_count_each_other(busy: Busy) -> None:
    """A loop that was held up reads them before any of their tasks has taken its place."""
    lane, key = busy.panel.lanes["search"], busy.keys["plain"].encode()
    headers = [(b"authorization", b"Bearer " + key)]
    scope = {"type": "http", "method": "POST", "path": SEARCH, "query_string": b"", "headers": headers}

    async def turns() -> list[list[bool]]:
        found = []
        for _ in range(2):
            found.append([busy.connections.at_once(scope, 0) is None for _ in range(3)])
            await asyncio.sleep(0)
        return found

    lane.running -= 1
    try:
        assert asyncio.run(turns()) == [[True, False, False], [True, False, False]]
    finally:
        lane.running += 1


def test_where_a_refusal_fails_the_application_answers(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scope: Scope, body_bytes: int) -> Answer | None:
        raise RuntimeError("planted")

    monkeypatch.setattr(busy.connections, "at_once", fails)
    assert busy.say(request(key=busy.keys["plain"])).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("fast", [False, True])
def test_the_line_in_the_log_is_the_same(busy: Busy, caplog: pytest.LogCaptureFixture, fast: bool) -> None:
    sent = request(SEARCH, b"{}", "Content-Length: 2", "X-Request-ID: mine", key=busy.keys["plain"])
    for level, lines in (("INFO", 1), ("WARNING", 0 if fast else 1)):  # nothing is filtered here, but what is not made
        with caplog.at_level(level, "salience.http"), noted() as logs:
            busy.say(sent, fast=fast)
            _settle(busy)
        found = [line for line in logs if line["event"] == "request" and line.get("status") == 503]
        assert len(found) == lines
        for line in found:
            assert line.pop("took_ms") >= 0
            assert line == {
                "event": "request", "log_level": "info", "request_id": "mine", "method": "POST",
                "route": "/v1/collections/{collection}/search",
                "status": 503, "code": "overloaded",
            }  # fmt: skip


def test_many_refusals_are_told_by_their_number(
    busy: Busy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.refusals._LINES_A_SECOND", 2)
    time.sleep(1.1)  # a second of its own
    sent = request(key=busy.keys["plain"])
    with caplog.at_level("INFO", "salience.http"), noted() as logs:
        for _ in range(7):
            busy.say(sent)
        until(lambda: [line.get("more") for line in logs][-1:] == [5], 10)  # also where nobody else is refused
        busy.say(sent)
        _settle(busy)
    lines = [line for line in logs if line.get("code") == "overloaded"]
    assert [line["event"] for line in lines] == ["request", "request", "requests refused", "request"]


@contextmanager
def noted() -> Iterator[list[Any]]:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        yield logs


def _settle(busy: Busy) -> None:
    """The application writes its line after its answer: another answer comes later."""
    busy.say(LIVEZ)
