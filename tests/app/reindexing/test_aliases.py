"""Aliases through the doors."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.app.reindexing.doors import search, until_gone, until_state


def test_aliases_are_followed_by_searches_reads_and_writes(client: TestClient) -> None:
    client.post("/v1/collections", json={"name": "green"})
    assert client.put("/v1/admin/aliases/shop", json={"collection": "goods"}).json() == {
        "alias": "shop", "collection": "goods",
    }  # fmt: skip
    assert search(client, "shop")["collection"] == "goods"
    assert client.put("/v1/collections/shop/documents/x", json={"text": "by the alias"}).json()["created"] == 1
    assert client.get("/v1/collections/goods/documents/x").status_code == 200
    assert client.get("/v1/collections/shop/stats").json()["name"] == "goods"
    bulk = client.post("/v1/collections/shop/documents:bulk?wait=true", content='{"id": "y", "text": "bulk"}\n')
    assert bulk.json()["created"] == 1
    refused = client.delete("/v1/collections/goods")
    assert (refused.status_code, "'shop' points at" in refused.text) == (409, True)
    assert client.post("/v1/collections", json={"name": "shop"}).status_code == 409
    assert client.put("/v1/admin/aliases/green", json={"collection": "goods"}).status_code == 409
    assert client.put("/v1/admin/aliases/shop", json={"collection": "nowhere"}).status_code == 404
    assert client.put("/v1/admin/aliases/shop", json={"collection": "green"}).status_code == 200
    assert client.get("/v1/collections/shop").json()["documents"] == 0
    assert client.get("/v1/admin/aliases").json()["aliases"] == [{"alias": "shop", "collection": "green"}]
    assert client.delete("/v1/admin/aliases/shop").status_code == 204
    assert client.get("/v1/admin/aliases/shop").json()["error"]["code"] == "alias_not_found"
    assert client.get("/v1/collections/shop").status_code == 404


def test_an_alias_goes_with_the_name(client: TestClient) -> None:
    client.put("/v1/admin/aliases/shop", json={"collection": "goods"})
    client.post("/v1/admin/collections/shop/reindex", json={"model": "tiny"})
    until_state(client, "switched")
    assert search(client, "shop")["model"] == "tiny"
    assert client.post("/v1/admin/collections/shop/reindex/cleanup").json()["state"] == "done"
    until_gone(client)
    assert search(client, "shop")["model"] == "tiny"
