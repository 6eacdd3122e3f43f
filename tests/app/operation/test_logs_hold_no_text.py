"""A server's whole output at info, after a scenario full of marked words: none of them is in it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.app.clients.server import LOG, serving

MARK = "Zauberwort"
TOKEN, SECRET = f"{MARK}-token-of-the-tests", f"{MARK}secret"
NAME = "goods"


class Done(NamedTuple):
    statuses: list[int]
    log: str


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("logged")
    environment = {
        "SALIENCE_AUTH__TOKENS": TOKEN,
        "SALIENCE_AUTH__HMAC_KEYS": f"AK:{SECRET}",
        "SALIENCE_LOG__SLOW_QUERY_MS": "1",
    }
    with serving(folder, environment) as address:
        statuses = [ask(f"{address}{path}", body, token) for path, body, token in requests()]
    return Done(statuses, (folder / LOG).read_text("utf-8"))


def requests() -> Iterator[tuple[str, Any, str]]:
    collection = f"/v1/collections/{NAME}"
    document = {"id": "a", "title": f"A {MARK} title", "text": f"{MARK} games.", "metadata": {"brand": MARK, MARK: 1}}
    yield "/v1/collections", {"name": NAME}, TOKEN
    yield f"{collection}/documents", {"documents": [document]}, TOKEN
    yield f"{collection}/documents:bulk?wait=true", json.dumps(document).encode() + b"\n" + MARK.encode(), TOKEN
    yield f"{collection}/search", {"query": MARK, "filter": {"brand": MARK}, "explain": "words"}, TOKEN
    yield f"{collection}/search", {"query": f'"{MARK}', "filter": f"{MARK} = ("}, TOKEN
    yield f"{collection}/search", {"query": "x", "filter": {MARK: {"lt": MARK}}}, TOKEN
    yield f"{collection}/search", {MARK: MARK}, TOKEN
    yield f"{collection}/search", f'{{"query": "{MARK}'.encode(), TOKEN
    yield f"{collection}/search", {"query": MARK, "min_seq": 10**9, "timeout_ms": 50}, TOKEN  # a 503
    yield f"{collection}/search", {"query": MARK}, f"{MARK}-another"
    yield f"/v1/collections/{MARK}/search?key={MARK}", {"query": MARK}, TOKEN
    yield f"/{MARK}", {"query": MARK}, TOKEN
    yield "/v1/embeddings", {"model": "default", "input": [MARK]}, TOKEN
    yield "/v1/embeddings", {"model": MARK, "input": [MARK]}, TOKEN
    yield "/semantic_embed", {"model": "default", "prompt": MARK, "representation": MARK}, TOKEN


def ask(address: str, body: Any, token: str) -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, content, headers), timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_scenario_went_through_what_it_was_to(scenario: Done) -> None:
    assert scenario.statuses[:4] == [201, 200, 200, 200]
    assert {400, 401, 404, 422, 503} <= set(scenario.statuses)


def test_no_text_and_no_secret_is_logged(scenario: Done) -> None:
    assert MARK.lower() not in scenario.log.lower()


def test_every_line_of_a_request_names_it_and_every_line_of_a_job_its_job(scenario: Done) -> None:
    lines = [json.loads(line) for line in scenario.log.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == len(scenario.statuses)
    about_requests = [
        line for line in lines if line["logger"] in ("salience.http", "salience.error", "salience.search")
    ]
    assert "slow search" in {line["event"] for line in about_requests}
    assert "request failed" not in {line["event"] for line in about_requests}  # none was the server's fault
    assert all(line["request_id"] for line in about_requests)
    assert len({line["request_id"] for line in requests}) == len(requests)
    about_jobs = [line for line in lines if line["logger"].startswith("indexer.") and line["event"].startswith("job ")]
    assert about_jobs
    assert {line["job_id"] for line in about_jobs} <= {1, 2}
