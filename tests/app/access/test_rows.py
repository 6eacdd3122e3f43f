"""A key with a row filter sees its documents as if there were no others.

The oracle is a collection that has no others: what such a key is answered about a collection of many documents is what
anybody is answered about a collection of those documents alone, number for number.
"""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from tests.app.access.conftest import House
from tests.app.answers import error_of

WORDS = "radio kitchen console games television films battery charger garden music bright quiet small fast".split()
BRANCHES = ("north", "south")
SECRET = "zeppelin"  # a word of hidden documents
QUERIES: list[dict[str, Any]] = [
    {"query": "a radio for music"},
    {"query": "radio games", "explain": "words"},
    {"query": "radio", "explain": "contrast", "k": 4},
    {"query": "quiet kitchen", "explain": "scores", "fusion": "rrf", "k": 30},
    {"query": "games", "facets": ["branch", "price", "colour"], "facet_values": 50, "profile": True},
    {"query": "games", "legs": ["sparse"], "facets": ["price"]},
    {"query": "zepelin radoi telvision"},
    {"query": "music", "group_by": "branch"},
    {"query": "music", "group_by": "price", "hits_per_group": 2, "k": 5},
    {"query": "fast music", "must": ["radio"], "highlight": True},
    {"query": "fast music", "must_not": ["kitchen"], "phrases": ["small radio"]},
    {"query": "bright films", "filter": {"price": {"lt": 30}}, "diversity": 0.3},
    {"query": "bright films", "filter": {"not": {"branch": "north"}}},
    {"query": "", "like": ["d0"], "unlike": ["d2"]},
    {"query": "music", "min_scores": {"sparse": 0.5}, "offset": 2},
    {"query": SECRET},
]


def documents() -> list[dict[str, Any]]:
    chance = random.Random(5)
    found = []
    for number in range(60):
        hidden = number % 2 == 1
        words = chance.choices(WORDS, k=chance.randint(4, 60 if hidden else 20)) + ([SECRET] * 3 if hidden else [])
        metadata: dict[str, Any] = {"branch": BRANCHES[hidden], "price": chance.randint(1, 60)}
        if hidden:
            metadata |= {"secret_field": "x", "price": 1000 + number}
        else:
            metadata["colour"] = chance.choice(["red", "blue"])
        found.append({"id": f"d{number}", "title": words[0], "text": " ".join(words) + ".", "metadata": metadata})
    return found


@pytest.fixture
def keys(house: House) -> tuple[str, str]:
    """One that sees the northern documents of `goods`, and one that sees all of `alone`, which has no others.

    The northern ones come to both in the same batches: the last bits of a vector may depend on what goes with it.
    """
    for name in ("goods", "alone"):
        house.collection(house.operator, name)
    everything = documents()
    for begin in range(0, len(everything), 20):
        northern, hidden = everything[begin : begin + 20 : 2], everything[begin + 1 : begin + 20 : 2]
        assert {document["metadata"]["branch"] for document in northern} == {"north"}
        for name, some in (("goods", northern), ("goods", hidden), ("alone", northern)):
            path = f"/v1/collections/{name}/documents"
            report = house.ask(house.operator, "POST", path, json={"documents": some}).json()
            assert report["created"] == len(some), report
    return house.key("ingest", filter='branch = "north"'), house.operator


def comparable(value: Any) -> Any:
    """Without what names a place in the store: two collections never share those."""
    left_out = {"id", "generation", "seq", "collection", "next", "request_id", "took_ms", "spans", "worker", "name"}
    left_out |= {"created_at", "other"}
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\bhit \d+", "hit N", value)
    return round(value, 9) if isinstance(value, float) else value


def test_searches_are_those_of_a_collection_of_these_documents_alone(house: House, keys: tuple[str, str]) -> None:
    some, all_ = keys
    for query in QUERIES:
        body = {"k": 10, **{key: value for key, value in query.items() if value != ""}}
        restricted = house.ask(some, "POST", "/v1/collections/goods/search", json=body).json()
        alone = house.ask(all_, "POST", "/v1/collections/alone/search", json=body).json()
        groups = [[len(group["hits"]) for group in answer.get("groups") or ()] for answer in (restricted, alone)]
        for answer in (restricted, alone):
            answer.pop("groups", None)
        assert groups[0] == groups[1], body
        if body.get("profile"):
            assert restricted["profile"].pop("segments") >= alone["profile"].pop("segments")
        assert comparable(restricted) == comparable(alone), body
        assert all(hit["metadata"]["branch"] == "north" for hit in restricted["hits"])
        assert SECRET not in str(restricted.get("hits")) + str(restricted.get("suggestions")), body
    unrestricted = house.ask(all_, "POST", "/v1/collections/goods/search", json=QUERIES[0]).json()
    ours = house.ask(some, "POST", "/v1/collections/goods/search", json=QUERIES[0]).json()
    assert {hit["document_id"]: hit["scores"]["sparse"]["raw"] for hit in ours["hits"]}.items() - {
        hit["document_id"]: hit["scores"]["sparse"]["raw"] for hit in unrestricted["hits"]
    }.items(), "the filter must show in the statistics, or this test compares nothing"
    suggested = house.ask(all_, "POST", "/v1/collections/goods/search", json=QUERIES[6]).json()["suggestions"]
    assert SECRET in str(suggested), "without the filter, the hidden word is suggested"


def test_pages_by_cursor(house: House, keys: tuple[str, str]) -> None:
    some, all_ = keys
    path, body = "/v1/collections/goods/search", {"query": "radio music", "k": 7}
    shown: list[str] = []
    cursor = None
    while True:
        answer = house.ask(some, "POST", path, json={**body, **({} if cursor is None else {"cursor": cursor})}).json()
        shown += [hit["document_id"] for hit in answer["hits"]]
        first = cursor or answer["next"]
        cursor = answer["next"]
        if cursor is None:
            break
    assert len(shown) == len(set(shown)) == 30
    assert "another query" in error_of(house.ask(all_, "POST", path, json={**body, "cursor": first}), 400)["message"]


def test_hidden_ids_are_those_of_nothing(house: House, keys: tuple[str, str]) -> None:
    some, all_ = keys
    goods = "/v1/collections/goods"
    hidden = house.ask(all_, "POST", f"{goods}/search", json={"query": SECRET, "k": 1, "explain": "words"}).json()[
        "hits"
    ][0]
    seen = house.ask(some, "POST", f"{goods}/search", json={"query": "radio", "k": 1}).json()["hits"][0]
    nothing = 10**9
    for body in ({"query": "radio", "like": [0]}, {"query": "radio", "unlike": [0]}):
        answers = [
            house.ask(some, "POST", f"{goods}/search", json={**body, list(body)[1]: [id_]})
            for id_ in (hidden["id"], nothing, hidden["document_id"], "nobodys")
        ]
        _same(answers[0], answers[1], str(hidden["id"]), str(nothing))
        _same(answers[2], answers[3], hidden["document_id"], "nobodys")
    for extra in ({}, {"above": seen["id"]}):
        pair = [
            house.ask(some, "POST", f"{goods}/explain", json={"query": "radio", "id": id_, **extra})
            for id_ in (hidden["id"], nothing)
        ]
        _same(pair[0], pair[1], str(hidden["id"]), str(nothing))
    pair = [
        house.ask(some, "POST", f"{goods}/explain", json={"query": "radio", "id": seen["id"], "above": id_})
        for id_ in (hidden["id"], nothing)
    ]
    _same(pair[0], pair[1], str(hidden["id"]), str(nothing))
    for method in ("GET", "DELETE"):
        pair = [house.ask(some, method, f"{goods}/documents/{id_}") for id_ in (hidden["document_id"], "nobodys")]
        assert pair[0].headers.get("Salience-Seq") == pair[1].headers.get("Salience-Seq")
        _same(pair[0], pair[1], hidden["document_id"], "nobodys")
    replayed = house.ask(some, "POST", "/v1/replay", json={"explanation": hidden["explanation"]}).json()
    assert (replayed["agrees"], replayed["score_now"]) == (False, None)
    assert house.ask(all_, "GET", f"{goods}/documents/{hidden['document_id']}").status_code == 200


def _same(one: Any, other: Any, hidden: str, nothing: str) -> None:
    assert one.status_code == other.status_code == 404
    said = [answer.json()["error"] for answer in (one, other)]
    assert said[0]["message"].replace(hidden, "ID") == said[1]["message"].replace(nothing, "ID")
    assert said[0]["code"] == said[1]["code"]


def test_fields_of_hidden_documents_are_those_of_nothing(house: House, keys: tuple[str, str]) -> None:
    some, all_ = keys
    path = "/v1/collections/goods/search"
    for name in ("filter", "facets", "group_by"):
        answers = []
        for field in ("secret_field", "no_field"):
            value: Any = {"filter": {field: "x"}, "facets": [field], "group_by": field}[name]
            answers.append(house.ask(some, "POST", path, json={"query": "radio", name: value}))
        assert [answer.status_code for answer in answers] == [200, 200]
        there, nowhere = (comparable(answer.json()) for answer in answers)
        assert str(there).replace("secret_field", "F") == str(nowhere).replace("no_field", "F")
    message = error_of(house.ask(all_, "POST", path, json={"query": "r", "filter": {"no_field": 1}}), 400)["message"]
    assert "secret_field" in message, "who sees all is told which fields there are"
    kinds = [
        house.ask(some, "POST", path, json={"query": "radio", "filter": {field: 3}}).json()["hits"]
        for field in ("secret_field", "no_field")
    ]
    assert kinds == [[], []]


def test_lists_and_counts(house: House, keys: tuple[str, str]) -> None:
    some, _ = keys
    goods = "/v1/collections/goods"
    body = house.ask(some, "GET", goods).json()
    alone = house.ask(keys[1], "GET", "/v1/collections/alone").json()
    assert (body["documents"], body["passages"]) == (alone["documents"], alone["passages"]) == (30, 30)
    listed = {c["name"]: c["documents"] for c in house.ask(some, "GET", "/v1/collections").json()["collections"]}
    assert listed == {"alone": 30, "goods": 30}
    held = len(house.parts.views.held())
    house.collection(house.operator, "unsearched", documents()[:3])
    listed = {c["name"]: c["documents"] for c in house.ask(some, "GET", "/v1/collections").json()["collections"]}
    assert listed == {"alone": 30, "goods": 30, "unsearched": 2}
    assert house.ask(some, "GET", "/v1/collections/unsearched").json()["passages"] == 2
    assert len(house.parts.views.held()) == held, "no collection is loaded to be counted"
    ids: list[str] = []
    after = None
    while True:
        params = {"limit": 7, **({} if after is None else {"after": after})}
        page = house.ask(some, "GET", f"{goods}/documents", params=params).json()
        ids += [document["id"] for document in page["documents"]]
        after = page["next"]
        if after is None:
            break
    assert ids == sorted(f"d{number}" for number in range(0, 60, 2))
    assert "some of the documents" in error_of(house.ask(some, "GET", f"{goods}/stats"), 403)["message"]


def test_deletions_spare_what_is_hidden(house: House, keys: tuple[str, str]) -> None:
    some, all_ = keys
    goods = "/v1/collections/goods"
    done = house.ask(some, "POST", f"{goods}/documents:delete", json={"filter": {"price": {"gte": 0}}}).json()
    assert done["deleted"] == 30
    assert house.ask(all_, "GET", goods).json()["documents"] == 30
    none = house.ask(some, "POST", f"{goods}/documents:delete", json={"filter": {"not": {"price": 1}}}).json()
    assert none["deleted"] == 0


def test_a_batch_holds_the_filter_for_each_of_its_queries(house: House, keys: tuple[str, str]) -> None:
    some, _ = keys
    answer = house.ask(
        some, "POST", "/v1/collections/goods/search:batch", json={"queries": [{"query": SECRET}, {"query": "radio"}]}
    ).json()
    hits = [hit for each in answer["answers"] for hit in each["result"]["hits"]]
    assert hits
    assert all(hit["metadata"]["branch"] == "north" for hit in hits)


def test_a_filter_on_a_field_that_is_not_there_lets_nothing_through(house: House, keys: tuple[str, str]) -> None:
    nobody = house.key("search", filter={"department": "sales"})
    answer = house.ask(nobody, "POST", "/v1/collections/goods/search", json={"query": "radio"})
    assert (answer.status_code, answer.json()["hits"]) == (200, [])
    assert house.ask(nobody, "GET", "/v1/collections/goods").json()["documents"] == 0
