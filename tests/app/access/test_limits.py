"""Limits of a key: what is counted, refused, and told of them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.caller import Caller
from app.access.limits import Limiter
from app.errors import QuotaExceeded
from core.access import Limits, Rights, Role
from core.prompts import Prompt
from core.records import Representation
from tests.app.access.conftest import House
from tests.app.answers import error_of
from tests.embedder.classifiers import save_classifier


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(account: str = "1", **limits: int) -> Caller:
    rights = Rights(name="k", role=Role.SEARCH, limits=Limits(**limits))
    return Caller(who="key k", account=account, rights=rights)


def ask(limiter: Limiter, who: Caller) -> None:
    with limiter.admitted(who, searches=False):
        pass


def test_a_minute_slides() -> None:
    clock = Clock()
    limiter, who = Limiter(clock=clock), caller(requests_per_minute=3)
    for _ in range(3):
        ask(limiter, who)
        clock.now += 10
    with pytest.raises(QuotaExceeded, match=r"3 requests .* 3 are allowed; try again in 30 s") as refused:
        ask(limiter, who)
    assert refused.value.retry_after == 30.0
    ask(limiter, caller("2", requests_per_minute=3))
    ask(limiter, caller("3"))
    clock.now += 30
    ask(limiter, who)
    with pytest.raises(QuotaExceeded):
        ask(limiter, who)


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_than_the_limit(pauses: list[float], limit: int) -> None:
    clock = Clock()
    limiter, who = Limiter(clock=clock), caller(requests_per_minute=limit)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        recent = sum(at > clock.now - 60 for at in admitted)  # the slow and obvious way
        if recent < limit:
            ask(limiter, who)
            admitted.append(clock.now)
        else:
            with pytest.raises(QuotaExceeded):
                ask(limiter, who)


def test_tokens_are_counted_when_they_are_known() -> None:
    clock = Clock()
    limiter, who = Limiter(clock=clock), caller(tokens_per_minute=100)
    ask(limiter, who)
    limiter.spend(who, 90)
    clock.now += 20
    ask(limiter, who)
    limiter.spend(who, 500)
    with pytest.raises(QuotaExceeded, match="590 tokens") as refused:
        ask(limiter, who)
    assert refused.value.retry_after == 60.0, "the 500 have to go, too"
    assert limiter.headers(who) == {
        "RateLimit-Policy": '"tokens";q=100;qu="tokens";w=60',
        "RateLimit": '"tokens";r=0;t=60',
    }
    assert limiter.headers(caller("2")) == {}


def test_searches_at_once() -> None:
    limiter, who = Limiter(), caller(concurrent_searches=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(limiter.admitted(who, searches=True))
        stack.enter_context(limiter.admitted(who, searches=False))
        with pytest.raises(QuotaExceeded, match="2 searches of this key are going on") as refused:
            stack.enter_context(limiter.admitted(who, searches=True))
        assert refused.value.retryable
    with limiter.admitted(who, searches=True):
        pass


def test_requests_over_the_limit_are_told_when_to_come_again(house: House) -> None:
    key = house.key("search", limits={"requests_per_minute": 2, "tokens_per_minute": 1000})
    first, second, third = (house.ask(key, "GET", "/v1/collections") for _ in range(3))
    policy = '"requests";q=2;w=60, "tokens";q=1000;qu="tokens";w=60'
    assert first.headers["RateLimit-Policy"] == second.headers["RateLimit-Policy"] == policy
    assert first.headers["RateLimit"] == '"requests";r=1;t=60, "tokens";r=1000;t=0'
    assert second.headers["RateLimit"].startswith('"requests";r=0;')
    assert error_of(third, 429)["code"] == "quota_exceeded"
    assert 0 < int(third.headers["Retry-After"]) <= 60
    assert third.headers["RateLimit"].startswith('"requests";r=0;')
    assert house.ask(key, "GET", "/livez").status_code == 200
    assert "RateLimit" not in house.ask(house.operator, "GET", "/v1/collections").headers


def left(answer_headers: str) -> int:
    return int(answer_headers.partition(";r=")[2].partition(";")[0])


def test_tokens_of_documents_queries_and_embeddings(house: House) -> None:
    house.collection(house.operator, "docs")
    body = {"documents": [{"id": "a", "text": "A radio for the kitchen. " * 20}]}
    key = house.key("ingest", limits={"tokens_per_minute": 10_000})
    written = house.ask(key, "POST", "/v1/collections/docs/documents", json=body)
    assert left(written.headers["RateLimit"]) == 10_000 - written.json()["tokens"] < 10_000
    before = left(written.headers["RateLimit"])
    embedded = house.ask(key, "POST", "/v1/embeddings", json={"model": "default", "input": "a radio"})
    assert before - left(embedded.headers["RateLimit"]) == embedded.json()["usage"]["total_tokens"] > 0
    before = left(embedded.headers["RateLimit"])
    searched = house.ask(key, "POST", "/v1/collections/docs/search", json={"query": "radio music"})
    assert before - left(searched.headers["RateLimit"]) == 4, "two words, and two special tokens"
    asked = {"query": "radio music", "explain": "scores"}
    explained = house.ask(key, "POST", "/v1/collections/docs/search", json=asked)
    saved = {"explanation": explained.json()["hits"][0]["explanation"]}
    replayed = house.ask(key, "POST", "/v1/replay", json=saved)
    assert replayed.json()["agrees"]
    again = left(explained.headers["RateLimit"]) - left(replayed.headers["RateLimit"])
    assert again == 4 + written.json()["tokens"], "the query and the passage, each once"
    job = house.ask(key, "POST", "/v1/collections/docs/documents?wait=false", json={"documents": [{"text": "x" * 80}]})
    assert left(replayed.headers["RateLimit"]) - left(job.headers["RateLimit"]) == 20, "of a job it is an estimate"
    little = house.key("search", limits={"tokens_per_minute": 1})
    assert house.ask(little, "POST", "/v1/embeddings", json={"model": "default", "input": "a radio"}).status_code == 200
    refused = house.ask(little, "POST", "/v1/embeddings", json={"model": "default", "input": "a radio"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")


def test_whatever_models_read_for_a_search_is_counted(open_house: Callable[..., House], tmp_path: Path) -> None:
    save_classifier(tmp_path / "judge")
    house = open_house(models={"judge": {"folder": tmp_path / "judge"}})
    texts = [f"Radio number {number} plays music in the kitchen all day long." for number in range(6)]
    house.collection(house.operator, "docs", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    key = house.key("search", limits={"tokens_per_minute": 100_000})
    reranker = house.parts.models.reranker("judge")
    passage = int(house.parts.encoder.encode([Prompt.of(texts[0])], Representation.DOCUMENT).token_counts[0])

    def cost(path: str, **body: Any) -> int:
        before = left(house.ask(key, "GET", "/v1/collections").headers["RateLimit"])
        answer = house.ask(key, "POST", f"/v1/collections/docs/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return before - left(answer.headers["RateLimit"])

    assert cost("search", query="radio") == 3
    assert cost("search", query="radio", legs=["sparse"]) == 0, "no model reads"
    pairs = int(reranker.rerank("radio", texts).token_counts.sum())
    assert cost("search", query="radio", rerank={"model": "judge"}) == 3 + pairs
    assert cost("search", query="radio", rerank={"model": "judge"}) == 3 + pairs, "remembered, and told to nobody"
    three = int(reranker.rerank("music", texts[:3]).token_counts.sum())
    batch = [{"query": "music", "rerank": {"model": "judge", "depth": 3}, "timeout_ms": 60_000}, {"query": "radio"}]
    assert cost("search:batch", queries=batch) == 3 + three + 3
    assert cost("search", query="radio", explain="words") == 3 + 6 * passage, "the query but once"
    assert cost("search", query="radio", explain="words") == 3 + 6 * passage, "remembered, and told to nobody"
    found = house.ask(key, "POST", "/v1/collections/docs/search", json={"query": "radio"}).json()["hits"][0]["id"]
    suppressed = cost("explain", query="radio", id=found, method="atman", granularity="word")
    assert suppressed > 10 * passage, "the passage once for each of its words"
    gradients = cost("explain", query="radio", id=found, method="integrated_gradients", granularity="word")
    assert gradients > 20 * passage


def test_whatever_models_read_for_an_explanation_of_a_prompt_is_counted(house: House) -> None:
    key = house.key("search", limits={"tokens_per_minute": 1000})
    body = {
        "model": "default",
        "prompt": [{"type": "text", "data": "a radio plays music in the kitchen"}],
        "target": "music",
        "prompt_granularity": {"type": "word"},
    }
    answer = house.ask(key, "POST", "/explain", json=body)
    assert answer.status_code == 200, answer.text
    assert 1000 - left(answer.headers["RateLimit"]) > 7 * 9, "the prompt once for each word, and more"


def test_bodies(house: House) -> None:
    house.collection(house.operator, "docs")
    key = house.key("ingest", limits={"body_bytes": 500})
    path = "/v1/collections/docs/documents"
    small, large = ({"documents": [{"id": "a", "text": "x" * length}]} for length in (10, 600))
    assert house.ask(key, "POST", path, json=small).status_code == 200
    assert "500" in error_of(house.ask(key, "POST", path, json=large), 413)["message"]
    assert house.ask(house.operator, "POST", path, json=large).status_code == 200

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b'{"id": "b", "text": "some forty characters of text here"}\n'

    json_lines = house.ask(key, "POST", f"{path}:bulk", content=chunks())
    assert json_lines.status_code == 413
    packed = gzip.compress(b"".join(chunks()))
    assert len(packed) < 500
    unpacked = house.ask(key, "POST", f"{path}:bulk", content=packed, headers={"Content-Encoding": "gzip"})
    assert "500 bytes once it is unpacked" in error_of(unpacked, 413)["message"]
    assert house.ask(key, "GET", "/v1/jobs").json()["jobs"] == []
    unannounced = house.ask(key, "POST", path, content=chunks(), headers={"Content-Type": "application/json"})
    assert unannounced.status_code == 413


def test_who_is_not_known_is_asked_for_no_body(house: House) -> None:
    house.collection(house.operator, "docs")
    answer = house.ask("wrong", "POST", "/v1/collections/docs/search", content=iter([b" " * 20_000_000]))
    assert answer.status_code == 401, "it would be too large, if it were read"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    broken = house.ask("wrong", "POST", "/v1/collections/docs/search", content=b"{")
    assert broken.status_code == 401, "not a word about what is sent"


def test_concurrent_searches_over_http(house: House) -> None:
    house.collection(house.operator, "docs", [{"id": "a", "text": "A radio."}])
    key = house.key("search", limits={"concurrent_searches": 1})
    statuses: list[int] = []

    def search() -> None:
        body = {"query": "radio", "explain": "words"}
        statuses.append(house.ask(key, "POST", "/v1/collections/docs/search", json=body).status_code)

    limiter = house.parts.limiter
    house.parts.keyring.refresh()
    known = house.parts.keyring.caller(key)
    assert known is not None
    with limiter.admitted(known, searches=True):  # one is going on
        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    search()
    assert statuses == [429, 429, 429, 200]


def test_a_rotation_begins_no_new_minute(house: House) -> None:
    made = house.made(limits={"requests_per_minute": 4})
    for _ in range(2):
        assert house.ask(made["key"], "GET", "/v1/collections").status_code == 200
    tokens = [made["key"]]
    for _ in range(2):
        path = f"/v1/admin/keys/{made['id']}/rotate"
        made = house.ask(house.operator, "POST", path, json={"overlap_seconds": 60}).json()
        tokens.append(made["key"])
    assert [house.ask(token, "GET", "/v1/collections").status_code for token in tokens] == [200, 200, 429]
