"""Documents one by one and by the hundred: listed, counted, changed and deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

DOCUMENTS = "/v1/collections/goods/documents"
SEARCH = "/v1/collections/goods/search"


def listed(client: TestClient, **params: Any) -> list[str]:
    return [document["id"] for document in client.get(DOCUMENTS, params=params).json()["documents"]]


def count(client: TestClient, **body: Any) -> int:
    return int(client.post(f"{DOCUMENTS}:count", json=body).json()["count"])


def error(response: Any) -> tuple[int, str, str | None]:
    found = response.json()["error"]
    return response.status_code, found["code"], found["param"]


def test_a_filter_lists_and_counts_what_satisfies_it(client: TestClient) -> None:
    assert listed(client, filter="price > 100") == ["console", "tv"]
    assert listed(client, filter="not price > 100") == ["radio"]
    assert (count(client, filter="price > 100"), count(client, filter={"price": {"lt": 50}}), count(client)) == (
        2,
        1,
        3,
    )
    first = client.get(DOCUMENTS, params={"filter": "price > 100", "limit": 1}).json()
    assert ([document["id"] for document in first["documents"]], first["next"]) == (["console"], "console")
    second = client.get(DOCUMENTS, params={"filter": "price > 100", "limit": 1, "after": first["next"]}).json()
    assert ([document["id"] for document in second["documents"]], second["next"]) == (["tv"], None)


@pytest.mark.parametrize("asked", ["list", "count"])
def test_a_filter_that_cannot_be_is_refused(client: TestClient, asked: str) -> None:
    for filter_ in ("price >", "prize > 3"):
        params, body = {"filter": filter_}, {"filter": filter_}
        answer = (
            client.get(DOCUMENTS, params=params) if asked == "list" else client.post(f"{DOCUMENTS}:count", json=body)
        )
        assert error(answer) == (400, "invalid_filter", "filter")


def test_metadata_is_changed_without_the_model(client: TestClient) -> None:
    before = client.get(f"{DOCUMENTS}/radio").json()
    changed = client.patch(f"{DOCUMENTS}/radio", json={"metadata": {"price": 39, "stock": {"shop": 2}}}).json()
    assert changed["changed"] is True
    after = client.get(f"{DOCUMENTS}/radio", params={"min_seq": changed["seq"]}).json()
    assert after == before | {"metadata": {"price": 39, "stock": {"shop": 2}}}
    found = client.post(SEARCH, json={"query": "radio", "filter": "stock.shop = 2", "min_seq": changed["seq"]}).json()
    assert [(hit["document_id"], hit["metadata"]) for hit in found["hits"]] == [("radio", after["metadata"])]
    again = client.patch(f"{DOCUMENTS}/radio", json={"metadata": {"price": 39, "absent": None}}).json()
    assert again == {"seq": changed["seq"], "changed": False}


@pytest.mark.parametrize(
    ("id_", "body", "problem"),
    [
        ("lamp", {"metadata": {"price": 1}}, (404, "document_not_found", "document_id")),
        ("radio", {"metadata": {"price": 2**64}}, (400, "invalid_document", "metadata.price")),
        ("radio", {"metadata": [1]}, (422, "malformed_request", "metadata")),
        ("radio", {}, (422, "malformed_request", "metadata")),
        ("radio", {"metadata": {}, "text": "Another."}, (422, "malformed_request", None)),
    ],
)
def test_a_change_that_cannot_be_is_refused(client: TestClient, id_: str, body: Any, problem: tuple[Any, ...]) -> None:
    before = client.get(DOCUMENTS).json()
    assert error(client.patch(f"{DOCUMENTS}/{id_}", json=body)) == problem
    assert client.get(DOCUMENTS).json() == before


def test_documents_are_deleted_by_their_ids(client: TestClient) -> None:
    client.put(f"{DOCUMENTS}/7", json={"text": "A seventh thing."})
    done = client.post(f"{DOCUMENTS}:delete", json={"ids": ["radio", 7, "nothing", "radio"]}).json()
    assert done["deleted"] == 2
    assert listed(client) == ["console", "tv"]
    hits = client.post(SEARCH, json={"query": "radio", "min_seq": done["seq"]}).json()["hits"]
    assert {hit["document_id"] for hit in hits} == {"console", "tv"}


@pytest.mark.parametrize("body", [{}, {"filter": "price < 50", "ids": ["tv"]}, {"ids": []}, {"ids": ["x"] * 1001}])
def test_what_is_to_be_deleted_is_said_in_one_way(client: TestClient, body: Any) -> None:
    status, code, _ = error(client.post(f"{DOCUMENTS}:delete", json=body))
    assert (status, code) == (422, "malformed_request")
    assert len(listed(client)) == 3


@pytest.mark.parametrize("id_", [".", ".."])
def test_what_a_path_takes_for_a_step_is_no_id(client: TestClient, id_: str) -> None:
    lamp = {"id": id_, "text": "A lamp."}
    posted = client.post(DOCUMENTS, json={"documents": [lamp]}).json()
    bulk = client.post(f"{DOCUMENTS}:bulk", params={"wait": True}, content=json.dumps(lamp)).json()
    for report in (posted, bulk):
        assert (report["created"], report["failed"], report["seq"]) == (0, 1, 0)
        assert report["errors"][0]["code"] == "invalid_document"
    put = client.put(f"{DOCUMENTS}/{id_.replace('.', '%2E')}", json={"text": "A lamp."})
    assert error(put) == (400, "invalid_document", "id")
    assert len(listed(client)) == 3


def test_one_that_was_stored_before_it_was_refused_is_found_and_deleted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("indexer.fields._leads_away", lambda id: False)
        assert client.post(DOCUMENTS, json={"documents": [{"id": "..", "text": "A lamp."}]}).json()["created"] == 1
    hits = client.post(SEARCH, json={"query": "lamp", "k": 1}).json()["hits"]
    assert [hit["document_id"] for hit in hits] == [".."]
    assert client.post(f"{DOCUMENTS}:delete", json={"ids": [".."]}).json()["deleted"] == 1
    assert listed(client) == ["console", "radio", "tv"]


def test_a_path_that_a_client_has_shortened_deletes_nothing(client: TestClient) -> None:
    shortened = client.delete("/v1/collections/goods/", follow_redirects=True)  # what browsers make of documents/..
    assert error(shortened) == (404, "not_found", None)
    assert len(listed(client)) == 3


@pytest.mark.parametrize("number", [5.0, 1e300])
def test_an_id_that_is_a_floating_point_number_is_refused_at_both_doors(client: TestClient, number: float) -> None:
    lamp = {"id": number, "text": "A lamp."}
    for body in ({"documents": [lamp]}, {"ids": [number]}):
        door = f"{DOCUMENTS}:delete" if "ids" in body else DOCUMENTS
        refused = client.post(door, json=body)
        assert error(refused)[:2] == (422, "malformed_request")
        assert "an id must be a text or an integer" in refused.json()["error"]["message"]
    bulk = client.post(f"{DOCUMENTS}:bulk", params={"wait": True}, content=json.dumps(lamp)).json()
    assert (bulk["created"], bulk["failed"]) == (0, 1)
    assert "an id must be a text or an integer" in bulk["errors"][0]["reason"]
