"""What /metrics says, held against what was done."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.operation.metrics import OTHER, Metrics
from core.protocols import Priority, RanBatch
from store import Database
from store.figures import figures
from store.statistics import statistics
from tests.waiting import until

SEARCH = "/v1/collections/goods/search"
Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(client: TestClient) -> Found:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(found: Found, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_searches_are_counted_by_stage_and_leg(client: TestClient) -> None:
    before = scraped(client)
    bodies = [{"query": "games"}, {"query": "games", "legs": ["sparse"]}, {"query": "a TV", "k": 1}]
    answers = [client.post(SEARCH, json=body).json() for body in bodies]
    after = scraped(client)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    stage = "salience_search_stage_seconds_count"
    for name, times in (("encode", 3), ("dense", 2), ("sparse", 3), ("fetch", 3)):
        assert grown(stage, collection="goods", stage=name) == times
    assert grown("salience_search_stage_seconds_sum", collection="goods", stage="encode") == pytest.approx(
        sum(answer["took_ms"]["encode"] for answer in answers) / 1000, abs=1e-4
    )
    hits = sum(len(answer["hits"]) for answer in answers)
    assert grown("salience_search_hits_total", collection="goods") == hits
    assert grown("salience_searches_total", collection="goods", outcome="complete") == 3
    route = "/v1/collections/{collection}/search"
    assert grown("salience_requests_total", method="POST", route=route, status="200") == 3
    assert grown("salience_request_seconds_count", route=route) == 3
    texts = grown("salience_encoder_batch_texts_sum", model="default", priority="interactive")
    assert texts == 2  # the sparse leg alone asks no model


def test_errors_are_counted_by_code_and_paths_by_route(client: TestClient) -> None:
    before = scraped(client)
    assert client.post("/v1/collections/none/search", json={"query": "x"}).status_code == 404
    assert client.post(SEARCH, json={"query": "x", "k": "1"}).status_code == 422
    for number in range(5):
        assert client.get(f"/nothing/{number}").status_code == 404
    assert client.post(SEARCH, json={}, headers={"Salience-Timeout-Ms": "soon"}).status_code == 400
    after = scraped(client)
    search = "/v1/collections/{collection}/search"  # where the request was going that was refused on its way
    assert value(after, "salience_requests_total", method="POST", route=search, status="400") == 1
    for code, times in (("collection_not_found", 1), ("malformed_request", 1), ("not_found", 5)):
        key = ("salience_errors_total", frozenset({("code", code)}))
        assert after[key] - before.get(key, 0) == times
    assert value(after, "salience_requests_total", method="GET", route=OTHER, status="404") == 5
    assert not [name for name, labels in after if any("nothing" in text for _, text in labels)]


def test_below_a_mount_requests_are_told_by_the_same_routes(client: TestClient) -> None:
    mounted = TestClient(Starlette(routes=[Mount("/below", client.app)]))
    before = scraped(client)
    with capture_logs() as logs:
        for number in range(3):
            assert mounted.get(f"/below/nothing/{number}").status_code == 404
        assert mounted.get("/below/v1/collections/none").status_code == 404
    after = scraped(client)
    known = "/v1/collections/{collection}"
    assert [line["route"] for line in logs if line["event"] == "request"] == [None, None, None, known]
    for route, times in ((OTHER, 3), (known, 1)):
        labels = {"method": "GET", "route": route, "status": "404"}
        name = "salience_requests_total"
        assert value(after, name, **labels) - value(before, name, **labels) == times
    assert not [name for name, labels in after if ("route", "/below") in labels]


def test_figures_of_the_data_are_those_of_stats(client: TestClient, tmp_path: Path) -> None:
    client.delete("/v1/collections/goods/documents/radio")
    client.post(SEARCH, json={"query": "games"})
    found, expected = scraped(client), statistics(tmp_path / "data")
    [goods] = expected.collections
    for name, wanted in (
        ("passages", goods.passages),
        ("segments", goods.segments.files),
        ("tombstones", goods.segments.tombstones),
        ("unsealed", goods.unsealed),
        ("seq", goods.seq),
        ("behind", 0),
    ):
        assert value(found, f"salience_collection_{name}", collection="goods") == wanted
    assert value(found, "salience_database_bytes") == expected.file_bytes
    assert value(found, "salience_database_readable") == 1
    assert value(found, "salience_disk_free_bytes") > 0
    assert value(found, "salience_process_resident_bytes") > 50e6
    assert value(found, "salience_process_open_files") > 5


def test_figures_count_what_statistics_count_in_sealed_collections(tmp_path: Path, client: TestClient) -> None:
    path = tmp_path / "data"
    documents = [{"id": f"d{n}", "text": f"A lamp with the number {n}."} for n in range(30)]
    client.post("/v1/collections/goods/documents", json={"documents": documents})
    database = Database.open(path)
    try:
        [found], [expected] = figures(database).collections, statistics(path).collections
    finally:
        database.close()
    assert (found.passages, found.unsealed, found.seq) == (expected.passages, expected.unsealed, expected.seq)
    assert (found.segments, found.tombstones) == (expected.segments.files, expected.segments.tombstones)


def test_collections_beyond_the_limit_are_counted_together(make_client: Callable[..., TestClient]) -> None:
    client = make_client(metrics={"collections": 2})
    for number in range(5):
        client.post("/v1/collections", json={"name": f"c{number}"})
        client.post(f"/v1/collections/c{number}/search", json={"query": "x"})
    found = scraped(client)
    labels = {dict(labels)["collection"] for _, labels in found if "collection" in dict(labels)}
    assert labels == {"c0", "c1", OTHER}
    assert value(found, "salience_searches_total", collection=OTHER, outcome="complete") == 3


def test_collections_that_are_gone_make_room_for_others(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.operation.scrape.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("app.operation.scrape._SHARE", 0)
    client = make_client(metrics={"collections": 2})
    for number in range(5):
        client.post("/v1/collections", json={"name": f"c{number}"})
        client.post(f"/v1/collections/c{number}/search", json={"query": "x"})
        found = scraped(client)
        assert value(found, "salience_searches_total", collection=f"c{number}", outcome="complete") == 1
        client.delete(f"/v1/collections/c{number}")
        assert not [labels for _, labels in scraped(client) if ("collection", f"c{number}") in labels]
    client.post("/v1/collections", json={"name": "c0"})
    client.post("/v1/collections/c0/search", json={"query": "x"})
    assert value(scraped(client), "salience_searches_total", collection="c0", outcome="complete") == 1


def test_metrics_are_the_operators_unless_they_are_public(make_client: Callable[..., TestClient]) -> None:
    token = "a-token-of-the-tests"
    closed = make_client(auth={"tokens": token})
    assert closed.get("/metrics").status_code == 401
    assert closed.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_public_metrics_ask_for_no_token(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": "a-token-of-the-tests"}, metrics={"public": True})
    assert client.get("/metrics").status_code == 200


def test_figures_that_cannot_be_read_are_said_to_be_old(client: TestClient, tmp_path: Path) -> None:
    def broken(found: Found) -> float:
        return value(found, "salience_database_readable")

    app = client.app.state  # type: ignore[attr-defined]  # an application of ours
    app.wiring.database.close()
    for file in (tmp_path / "data").glob("salience.db*"):
        file.unlink()
        file.mkdir()
    until(lambda: not app.wiring.keyring.fresh)  # whoever asks is known by the keys that were read last
    assert broken(scraped(client)) == 0
    assert client.get("/v1/models").status_code == 503


def test_labels_are_bounded_whatever_is_asked_for() -> None:
    metrics = Metrics(collections=1)
    for number in range(50):
        metrics.answered(method=f"M{number}", route=None, status=405, seconds=0.1, code="method_not_allowed")
    metrics.ran("default", RanBatch(priority=Priority.BULK, texts=3, tokens=30, seconds=0.01))
    names = [sample.labels.get("method") for family in metrics.registry.collect() for sample in family.samples]
    assert set(names) <= {None, OTHER}


def test_hidden_generations_of_one_collection_are_counted_together() -> None:
    metrics = Metrics(collections=2)
    for name in ("products!7", "products!8", "products", "orders"):
        metrics.slow(name)
    counted = {
        sample.labels["collection"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "salience_slow_searches_total"
    }
    assert counted == {"products!": 2, "products": 1, "other": 1}


def test_every_metric_stands_in_the_documentation(client: TestClient) -> None:
    told = (Path(__file__).resolve().parents[3] / "docs/operate.md").read_text("utf-8")
    client.post(SEARCH, json={"query": "games"})
    named = {
        name for name, _ in re.findall(r"^# TYPE (salience_\w+) (\w+)$", client.get("/metrics").text, re.MULTILINE)
    }
    assert not [name for name in named if f"`{name}`" not in told]
    assert "salience_requests_total" in named
    assert "_created" not in client.get("/metrics").text
