"""A real server with one place: what it says to whom, and that it serves on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.app.clients.server import LOG, serving

ENVIRONMENT = {
    "SALIENCE_LIMITS__CONCURRENT_REQUESTS": "1",
    "SALIENCE_LIMITS__WAITING_REQUESTS": "1",
    "SALIENCE_LOG__LEVEL": "info",
}
TEXTS = [f"A lamp with the number {number} on a table beside the window." for number in range(40)]


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: Any


class Crowd(NamedTuple):
    answers: list[Answer]
    health: list[Answer]
    afterwards: Answer
    bad_header: Answer
    log: str


def ask(address: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}{path}", content, {"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read().decode()
            return Answer(response.status, None, json.loads(text) if text.startswith("{") else text)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers["Retry-After"], json.load(error))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    folder = tmp_path_factory.mktemp("overload")
    embed = ("/v1/embeddings", {"model": "default", "input": TEXTS})
    native = ("/v1/collections/goods/search", {"query": "lamp", "explain": "words", "k": 40})
    with serving(folder, ENVIRONMENT) as address, ThreadPoolExecutor(30) as pool:
        ask(address, "/v1/collections", {"name": "goods"})
        documents = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
        assert ask(address, "/v1/collections/goods/documents", {"documents": documents}).status == 200
        sent = [pool.submit(ask, address, *(native if number % 2 else embed)) for number in range(24)]
        health = [ask(address, path) for path in ("/livez", "/readyz", "/metrics")]
        answers = [one.result() for one in sent]
        afterwards = ask(address, *native)
        bad = ask(address, *native, {"Salience-Timeout-Ms": "soon"})
    return Crowd(answers, health, afterwards, bad, (folder / LOG).read_text("utf-8"))


def test_some_are_served_and_the_others_told_when_to_come_back(crowd: Crowd) -> None:
    statuses = [one.status for one in crowd.answers]
    assert set(statuses) == {200, 503}
    for one in crowd.answers:
        if one.status == 503:
            assert one.retry_after is not None
            assert int(one.retry_after) >= 1
            assert one.body["error"]["code"] == "overloaded"
            assert "try again" in one.body["error"]["message"]


def test_health_and_metrics_answer_meanwhile(crowd: Crowd) -> None:
    assert [one.status for one in crowd.health] == [200, 200, 200]


def test_afterwards_it_serves_as_before(crowd: Crowd) -> None:
    assert (crowd.afterwards.status, len(crowd.afterwards.body["hits"])) == (200, 40)


def test_a_time_that_is_none_is_a_fault_of_the_request(crowd: Crowd) -> None:
    assert (crowd.bad_header.status, crowd.bad_header.body["error"]["code"]) == (400, "invalid_input")


def test_what_was_refused_is_in_the_log_once_and_no_failure(crowd: Crowd) -> None:
    lines = [json.loads(line) for line in crowd.log.splitlines() if line.startswith("{")]
    overloaded = [line for line in lines if line.get("code") == "overloaded"]
    refused = [line for line in overloaded if "more" not in line]
    more = sum(line["more"] for line in overloaded if "more" in line)  # than 20 within a second have no lines
    assert len(refused) + more == sum(one.status == 503 for one in crowd.answers)
    assert {(line["event"], line["level"], line["status"]) for line in refused} == {("request", "info", 503)}
    told = {
        one.body["error"]["request_id"]
        for one in crowd.answers
        if one.status == 503 and "request_id" in one.body["error"]
    }
    assert told
    assert len(told - {line["request_id"] for line in refused}) <= more
