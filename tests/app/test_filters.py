"""Filters through the doors: HTTP and the command line speak both forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

Salience = Callable[..., tuple[int, str, str]]
SEARCH = "/v1/collections/goods/search"
SHOPS = [
    {"id": "muc", "text": "a shop", "metadata": {"at": {"lat": 48.14, "lon": 11.58}, "open": "2024-05-01T09:00+02:00"}},
    {"id": "ber", "text": "a shop", "metadata": {"at": {"lat": 52.52, "lon": 13.4}, "open": "2024-05-02"}},
]  # fmt: skip


def found(client: TestClient, filter: Any, collection: str = "goods") -> list[str]:
    body = {"query": "a shop with a TV", "filter": filter, "k": 100}
    response = client.post(f"/v1/collections/{collection}/search", json=body)
    assert response.status_code == 200, response.text
    return sorted(hit["document_id"] for hit in response.json()["hits"])


def test_both_forms_find_the_same(client: TestClient) -> None:
    for filter in ("price < 100 or price = 499", {"or": [{"price": {"lt": 100}}, {"price": 499}]}):
        assert found(client, filter) == ["radio", "tv"]


def test_a_broken_text_is_shown_where_it_breaks(client: TestClient) -> None:
    response = client.post(SEARCH, json={"query": "x", "filter": "price < and"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_filter", "filter")
    assert "character 9" in error["message"]


@pytest.mark.parametrize("operator", ["every", "not", "eq"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SEARCH, {"query": "x"}),
        ("/v1/collections/goods/documents:delete", {}),
        ("/v1/admin/keys", {"name": "a key", "role": "search"}),
    ],
)
def test_a_filter_that_is_nested_deeply_is_refused(
    client: TestClient, path: str, body: dict[str, Any], operator: str
) -> None:
    nested: Any = {"gte": 1}
    for _ in range(600):
        nested = {operator: nested}
    answer = client.post(path, json={**body, "filter": {"price": nested}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_filter"), answer.text[:200]
    assert len(answer.content) < 1000


def test_dates_and_places(client: TestClient) -> None:
    settings = {"fields": {"at": "geo", "open": "date"}}
    made = client.post("/v1/collections", json={"name": "shops", "settings": settings})
    assert made.json()["settings"]["fields"] == {"at": "geo", "open": "date"}
    wrong = {"id": "x", "text": "a shop", "metadata": {"open": "soon"}}
    report = client.post("/v1/collections/shops/documents", json={"documents": [*SHOPS, wrong]}).json()
    assert (report["created"], report["failed"]) == (2, 1)
    assert "metadata 'open' is 'soon', and the field is declared as date" in report["errors"][0]["reason"]
    assert report["errors"][0]["id"] == "x"
    for distance in ("60 km", "60km"):
        assert found(client, f"within(at, 48, 11, {distance})", "shops") == ["muc"]
        assert found(client, {"at": {"within": {"lat": 48, "lon": 11, "distance": distance}}}, "shops") == ["muc"]
    assert found(client, "open = 2024-05-01", "shops") == ["muc"]
    assert found(client, "2024-05-01T07:00:00Z < open", "shops") == ["ber"]


def test_documents_are_deleted_by_filter(client: TestClient) -> None:
    url = "/v1/collections/goods/documents:delete"
    assert client.post(url, json={"filter": {"price": {"lt": 300}}}).json()["deleted"] == 2
    assert [document["id"] for document in client.get("/v1/collections/goods/documents").json()["documents"]] == ["tv"]
    assert found(client, "price > 0") == ["tv"]
    assert client.post(url, json={"filter": {}}).status_code == 400
    assert client.post(url, json={}).status_code == 422
    assert client.post("/v1/collections/none/documents:delete", json={"filter": "a = 1"}).status_code == 404


@pytest.fixture
def goods(salience: Salience, tmp_path: Path) -> Salience:
    file = tmp_path / "goods.csv"
    file.write_text('id,text,price,made\na,"A TV",20,2024-05-01\nb,"A radio",5,2024-06-01\nc,"A clock",,2025-01-01\n')
    assert salience("collections", "create", "goods", "--field", "made=date")[0] == 0
    assert salience("add", str(file), "-c", "goods")[0] == 0
    return salience


def test_the_command_line_filters_and_deletes(goods: Salience) -> None:
    code, out, _ = goods("search", "TV", "-c", "goods", "--filter", "made < 2024-06 and price >= 5", "--json")
    assert code == 0
    assert [hit["document_id"] for hit in json.loads(out)["hits"]] == ["a"]
    code, _, err = goods("search", "TV", "-c", "goods", "--filter", "price <")
    assert code != 0
    assert "character 8" in err
    code, out, _ = goods("delete", "-c", "goods", "--filter", "not price > 10")
    assert (code, out.strip()) == (0, "goods: 2 deleted")
    code, _, err = goods("delete", "-c", "goods")
    assert code != 0
    assert "name ids, or a --filter" in err


def test_a_kind_that_cannot_be_declared(salience: Salience) -> None:
    code, _, err = salience("collections", "create", "x", "--field", "made=null")
    assert code != 0
    assert "NAME=KIND" in err
