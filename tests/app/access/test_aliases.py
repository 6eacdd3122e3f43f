"""Keys that know a collection by an alias: what it is theirs to see, and their limits hold."""

from __future__ import annotations

from tests.app.access.conftest import House
from tests.app.answers import error_of

TEXTS = [{"id": f"d{number}", "text": f"A radio for the kitchen, number {number}."} for number in range(4)]


def test_a_key_for_an_alias_sees_its_jobs_and_replays_its_explanations(house: House) -> None:
    acme, other = house.key("admin", tenant="acme"), house.key("ingest", tenant="acme", collections=["other"])
    house.collection(acme, "docs", TEXTS)
    house.collection(acme, "other", TEXTS)
    house.ask(house.operator, "PUT", "/v1/admin/aliases/acme~current", json={"collection": "acme~docs"})
    key, path = house.key("ingest", tenant="acme", collections=["current"]), "/v1/collections/current"
    found = house.ask(key, "POST", f"{path}/search", json={"query": "radio", "explain": "words"}).json()
    replay = {"explanation": found["hits"][0]["explanation"]}
    assert house.ask(key, "POST", "/v1/replay", json=replay).json()["agrees"]
    error_of(house.ask(other, "POST", "/v1/replay", json=replay), 404)
    replay["explanation"]["provenance"]["collection"] = "other"
    error_of(house.ask(key, "POST", "/v1/replay", json=replay), 404)
    job = house.ask(key, "POST", f"{path}/documents?wait=false", json={"documents": TEXTS}).json()
    assert house.ask(key, "GET", f"/v1/jobs/{job['id']}").status_code == 200
    assert [one["id"] for one in house.ask(key, "GET", "/v1/jobs").json()["jobs"]] == [job["id"]]
    assert house.ask(other, "GET", "/v1/jobs").json()["jobs"] == []
    error_of(house.ask(other, "GET", f"/v1/jobs/{job['id']}"), 404)


def test_the_passages_behind_an_alias_count(house: House) -> None:
    house.collection(house.operator, "docs", TEXTS)
    house.ask(house.operator, "PUT", "/v1/admin/aliases/current", json={"collection": "docs"})
    key = house.key("ingest", collections=["current"], limits={"passages": 5})
    path = "/v1/collections/current/documents"
    two = [{"id": "x", "text": "One."}, {"id": "y", "text": "Two."}]
    error_of(house.ask(key, "POST", path, json={"documents": two}), 409)
    assert house.ask(key, "POST", path, json={"documents": two[:1]}).status_code == 200
    assert error_of(house.ask(key, "POST", path, json={"documents": two[1:]}), 409)["code"] == "limit_reached"


def test_a_collection_that_an_alias_holds_names_none_but_those_that_are_seen(house: House) -> None:
    key = house.key("admin", collections=["pub-*"])
    house.collection(key, "pub-a")
    path, aliases = "/v1/collections/pub-a", "/v1/admin/aliases"
    house.ask(house.operator, "PUT", f"{aliases}/merger", json={"collection": "pub-a"})
    told, known = (error_of(house.ask(who, "DELETE", path), 409)["message"] for who in (key, house.operator))
    assert told == "an alias points at the collection 'pub-a': move or delete it first"
    assert known == "the alias 'merger' points at the collection 'pub-a': move or delete it first"
    house.ask(house.operator, "PUT", f"{aliases}/pub-z", json={"collection": "pub-a"})
    assert "the alias 'pub-z' points" in error_of(house.ask(key, "DELETE", path), 409)["message"]
