"""What a search requires, selects and says beside its hits, over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.answers import SEARCH, ask, error_of, ids
from tests.app.conftest import DOCUMENTS

Salience = Callable[..., tuple[int, str, str]]


def test_operators_are_read_only_where_they_are_asked_for(client: TestClient) -> None:
    text = 'music box -tv "the kitchen"'
    assert len(ids(ask(client, query=text))) == 3
    found = ask(client, query=text, operators=True)
    assert ids(found) == ["radio"]
    assert found["query"] == "music box the kitchen"
    lists = ask(client, query="music box", must_not=["tv"], phrases=["the kitchen"])
    assert ids(lists) == ["radio"]
    boosted = ask(client, query="+play^7 tv", operators=True)
    assert ids(boosted) == ["console"]
    assert boosted["controls"] == [{"start": 0, "length": 4, "factor": 7.0, "token_overlap": "partial"}]


def test_groups_facets_and_highlights(client: TestClient) -> None:
    found = ask(client, query="tv games", group_by="price", hits_per_group=1, k=2, facets=["price"], highlight=True)
    assert [group["hits"] for group in found["groups"]] == [[hit["id"]] for hit in found["hits"]]
    assert {group["value"] for group in found["groups"]} <= {299, 499, 49}
    assert found["facets"]["documents"] == 3
    assert found["facets"]["fields"]["price"] == {
        "values": [{"value": price, "documents": 1} for price in (49, 299, 499)],
        "distinct": 3,
        "without": 0,
    }
    for hit in found["hits"]:
        text = hit["passage"]["text"]
        words = {text[span["start"] : span["end"]].lower() for span in hit["highlight"]["passage"]}
        assert words <= {"tv", "games", "gaming"}
    assert ask(client, query="tv")["groups"] is None


def test_the_last_moment_of_all_years_is_a_value_like_any_other(client: TestClient) -> None:
    """As many programs write "never"."""
    client.post("/v1/collections", json={"name": "offers", "settings": {"fields": {"until": "date"}}})
    never = "9999-12-31T23:59:59.999999Z"
    client.put("/v1/collections/offers/documents/tv", json={"text": "a TV", "metadata": {"until": never}})
    body = {"query": "tv", "group_by": "until", "facets": ["until"]}
    found = client.post("/v1/collections/offers/search", json=body).json()
    assert [group["value"] for group in found["groups"]] == [never]
    assert found["facets"]["fields"]["until"]["values"] == [{"value": never, "documents": 1}]


@pytest.mark.parametrize("number", [2**53 - 1, 2**63 - 1, -(2**63), 1e300, 5e-324, -0.0, 2.5])
def test_a_facet_of_a_number_finds_its_documents_again(client: TestClient, number: float) -> None:
    written = client.put("/v1/collections/goods/documents/new", json={"text": "A tv.", "metadata": {"size": number}})
    assert written.status_code == 200
    facet = ask(client, query="tv", facets=["size"])["facets"]["fields"]["size"]["values"]
    assert [(value["value"], value["documents"]) for value in facet] == [(float(number), 1)]
    assert isinstance(facet[0]["value"], float) or abs(facet[0]["value"]) < 2**53, "others read integers of 64 bits"
    hits = ask(client, query="tv", filter={"size": facet[0]["value"]})["hits"]
    assert [(hit["document_id"], hit["metadata"]["size"]) for hit in hits] == [("new", number)]


def test_suggestions_offer_and_change_nothing(client: TestClient) -> None:
    found = ask(client, query="gamming with freinds")
    assert found["suggestions"]["query"] == "gaming with friends"
    assert [word["meant"][0]["text"] for word in found["suggestions"]["words"]] == ["gaming", "friends"]
    assert found["query"] == "gamming with freinds"
    silent = ask(client, query="gamming with freinds", suggest=False)
    assert silent["suggestions"] is None
    assert silent["hits"] == found["hits"]


def test_settings_are_changed_and_searched_by_at_once(client: TestClient) -> None:
    sparse = {"query": "wireless", "legs": ["sparse"]}
    assert ids(ask(client, **sparse)) == []
    page = ask(client, query="games", k=1)
    changed = client.patch("/v1/collections/goods", json={"settings": {"synonyms": [["radio", "wireless"]], "b": 0.4}})
    assert changed.status_code == 200
    settings = changed.json()["settings"]
    assert (settings["synonyms"], settings["b"], settings["k1"]) == (
        {"radio": ["wireless"], "wireless": ["radio"]}, 0.4, 1.2,
    )  # fmt: skip
    assert ids(ask(client, **sparse)) == ["radio"]
    stale = client.post(SEARCH, json={"query": "games", "k": 1, "cursor": page["next"]})
    assert error_of(stale, 400)["param"] == "cursor"  # the ranking may be another one
    assert client.patch("/v1/collections/goods", json={"settings": {"synonyms": {}}}).json()["settings"]["b"] == 0.4
    assert ids(ask(client, **sparse)) == []


@pytest.mark.parametrize(
    ("settings", "param", "problem"),
    [
        ({"language": "de"}, "language", "the documents were stored by it"),
        ({"fields": {"a": "text"}}, "fields", "the documents were stored by it"),
        ({"synonym": {}}, "synonym", "did you mean 'synonyms'?"),
        ({"b": 2.0}, "b", "must be between 0 and 1"),
        ({"synonyms": [["tv"]]}, "synonyms", "a group has two or more"),
        ({"synonyms": {"tv": ["!"]}}, "synonyms", "letters or digits"),
    ],
)
def test_what_cannot_be_changed_is_refused(
    client: TestClient, settings: dict[str, Any], param: str, problem: str
) -> None:
    before = client.get("/v1/collections/goods").json()
    error = error_of(client.patch("/v1/collections/goods", json={"settings": settings}), 400)
    assert (error["code"], error["param"]) == ("invalid_settings", param)
    assert problem in error["message"]
    assert client.get("/v1/collections/goods").json() == before


@pytest.mark.parametrize(
    ("body", "param", "problem"),
    [
        ({"group_by": "prize"}, "group_by", "did you mean 'price'?"),
        ({"facets": ["prize"]}, "facets", "did you mean 'price'?"),
        ({"facets": ["price"], "min_scores": {"dense": 0.1}}, "facets", "leave one of the two out"),
        ({"hits_per_group": 2}, "hits_per_group", "needs group_by"),
        ({"group_by": "price", "diversity": 0.5}, "diversity", "contradict"),
        ({"diversity": 2.0}, "diversity", "allowed are 0 to 1"),
        ({"min_scores": {"learned": 0.1}}, "min_scores", "this search goes by dense, sparse"),
        ({"must": ["!"]}, "must", "has no word"),
        ({"query": "-tv", "operators": True}, "query", "only says what is not wanted"),
        ({"facet_values": 0}, "facet_values", "allowed are 1 to 1000"),
    ],
)
def test_bad_wishes_are_refused(client: TestClient, body: dict[str, Any], param: str, problem: str) -> None:
    error = error_of(client.post(SEARCH, json={"query": "tv", **body}), 400)
    assert (error["code"], error["param"]) == ("invalid_query", param)
    assert problem in error["message"]


def test_an_unknown_leg_is_named_as_the_key_that_it_is(client: TestClient) -> None:
    error = error_of(client.post(SEARCH, json={"query": "tv", "min_scores": {"spare": 1}}), 422)
    assert error["param"] == "min_scores.spare"
    assert error["message"].startswith("min_scores.spare: Input should be 'dense'")


def test_the_command_line_says_the_same(salience: Salience, tmp_path: Path) -> None:
    source = tmp_path / "goods.jsonl"
    source.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    assert salience("add", str(source), "-c", "goods")[0] == 0
    code, out, err = salience("search", "gamming", "--facet", "price", "--group-by", "price", "-c", "goods")
    assert code == 0
    assert "did you mean: gaming" in err
    assert "price: 299" in out
    assert "3 documents match" in out
    assert "price: 49 (1), 299 (1), 499 (1)" in out
    code, out, _ = salience("search", "box -tv", "--operators", "-c", "goods", "--json", "--must", "kitchen")
    assert [hit["document_id"] for hit in json.loads(out)["hits"]] == ["radio"]
    code, _, err = salience("search", "box", "--min-score", "dense", "-c", "goods")
    assert code != 0
    assert "write it as LEG=SCORE" in err
    rules = tmp_path / "synonyms.txt"
    rules.write_text("# words\nradio, wireless\n")
    assert salience("collections", "set", "goods", "--synonyms", str(rules), "--b", "0.5")[0] == 0
    found = json.loads(salience("search", "wireless", "--leg", "sparse", "-c", "goods", "--json")[1])
    assert ids(found) == ["radio"]
    assert salience("collections", "set", "goods", "--no-synonyms")[0] == 0
    found = json.loads(salience("search", "wireless", "--leg", "sparse", "-c", "goods", "--json")[1])
    assert ids(found) == []
    for arguments, problem in (
        ((), "nothing to change"),
        (("--synonym", "tv"), "synonyms, line 1"),
        (("--no-synonyms", "--synonym", "a, b"), "give one or the other"),
        (("--synonyms", str(tmp_path / "none")), "none"),
    ):
        code, _, err = salience("collections", "set", "goods", *arguments)
        assert code != 0
        assert problem in err
