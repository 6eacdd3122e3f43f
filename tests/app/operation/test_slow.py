"""Slow searches are logged by their shape, which holds no word of theirs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from app.operation.slow import filter_shape
from core.filters import parse_filter
from retriever.searcher import Searcher

SEARCH = "/v1/collections/goods/search"


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ("price < 20", "range"),
        ('brand in ("secretbrand", "b", "c") and price >= 3', "and(in(3), range)"),
        ('not (brand = "secretbrand" or price < 3)', "not(or(in(1), range))"),
        ({"brand": {"prefix": "secretbrand"}}, "prefix"),
    ],
)
def test_a_filter_is_told_by_its_structure(given: object, shape: str) -> None:
    assert filter_shape(parse_filter(given)) == shape


def test_a_slow_search_is_logged_by_shape(make_client: Callable[..., TestClient]) -> None:
    client = make_client(log={"slow_query_ms": 1})
    client.post("/v1/collections", json={"name": "goods"})
    document = {"id": "d", "text": "secrettext about games", "metadata": {"secretfield": 3}}
    client.post("/v1/collections/goods/documents", json={"documents": [document]})
    body: dict[str, Any] = {
        "query": "secretword games",
        "emphasis": {"secretword": 2},
        "filter": {"secretfield": {"lt": 17}},
        "must_not": ["secretother"],
        "explain": "words",
        "suggest": False,
        "k": 3,
    }
    with structlog.testing.capture_logs() as lines:
        assert client.post(SEARCH, json=body).status_code == 200
    [line] = [line for line in lines if line["event"] == "slow search"]
    assert "secret" not in json.dumps(line)
    assert (line["collection"], line["k"], line["legs"]) == ("goods", 3, ["dense", "sparse"])
    assert line["options"] == {"filter": "range", "fusion": "auto", "explain": "words", "controls": 1, "must_not": 1}
    assert {"encode", "filter", "fetch", "explain"} <= set(line["stages_ms"])
    assert line["took_ms"] == pytest.approx(sum(line["stages_ms"].values()), abs=1)


def test_a_search_that_waited_is_slow_and_says_how_long(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an overloaded server searches are slow, and none of their stages is."""
    client = make_client(log={"slow_query_ms": 300})
    client.post("/v1/collections", json={"name": "goods"})
    search = Searcher.search

    def held_up(self: Searcher, *arguments: Any) -> Any:
        time.sleep(0.3)
        return search(self, *arguments)

    monkeypatch.setattr(Searcher, "search", held_up)
    with structlog.testing.capture_logs() as lines:
        assert client.post(SEARCH, json={"query": "games"}).status_code == 200
    [line] = [line for line in lines if line["event"] == "slow search"]
    assert line["stages_ms"]["waiting"] >= 299
    assert line["took_ms"] == pytest.approx(sum(line["stages_ms"].values()), abs=1)
    stage = 'salience_search_stage_seconds_count{collection="goods",stage="waiting"} 1.0'
    assert stage in client.get("/metrics").text


def test_nothing_is_slow_where_that_is_off(make_client: Callable[..., TestClient]) -> None:
    client = make_client(log={"slow_query_ms": 0})
    client.post("/v1/collections", json={"name": "goods"})
    with structlog.testing.capture_logs() as lines:
        client.post(SEARCH, json={"query": "games"})
    assert "slow search" not in [line["event"] for line in lines]
