"""What somebody tries who has a key, and wants to see what it does not show.

Whatever is asked for that is hidden is answered as what never was, but for the name that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.app.access.conftest import House
from tests.app.access.test_limits import left
from tests.app.answers import error_of

SECRET = "zeppelin"
NORTH = [{"id": f"n{i}", "text": f"A radio, number {i}.", "metadata": {"branch": "north", "p": i}} for i in range(5)]
SOUTH = [
    {"id": f"s{i}", "text": f"A {SECRET}, number {i}.", "metadata": {"branch": "south", "hoard": f"gold {i}"}}
    for i in range(5)
]
SEARCH = "/v1/collections/docs/search"


def told(answer: Any, *names: object) -> tuple[int, str]:
    """Without what the asker said, what is counted for all, and what is another one each time."""
    body = answer.json() if answer.content else {}
    for moment in ("request_id", "took_ms", "seq"):
        body.pop(moment, None)
        if isinstance(body.get("error"), dict):
            body["error"].pop(moment, None)
    text = json.dumps(body, sort_keys=True)
    for name in names:
        text = text.replace(str(name), "NAME")
    return answer.status_code, text


@pytest.fixture
def rows(house: House) -> str:
    """A key that sees the northern documents."""
    house.collection(house.operator, "docs", [*NORTH, *SOUTH])
    return house.key("ingest", filter='branch = "north"')


def hits(house: House, key: str, **query: Any) -> list[dict[str, Any]]:
    answer = house.ask(key, "POST", SEARCH, json=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


def test_hidden_documents_are_answered_as_what_never_was(house: House, rows: str) -> None:
    hidden = hits(house, house.operator, query=SECRET, k=1)[0]
    seen = hits(house, rows, query="radio", k=1)[0]
    never = 10**12
    pairs: list[tuple[str, str, Any, Any]] = [
        ("GET", "/v1/collections/docs/documents/{}", "s1", "x1"),
        ("DELETE", "/v1/collections/docs/documents/{}", "s1", "x1"),
        ("SEARCH", "like", ["s1"], ["x1"]),
        ("SEARCH", "unlike", ["s1"], ["x1"]),
        ("SEARCH", "group_by", "hoard", "haard"),
        ("SEARCH", "facets", ["hoard"], ["haard"]),
        ("SEARCH", "filter", 'hoard = "gold 1"', 'haard = "gold 1"'),
        ("SEARCH", "filter", "hoard > 3", "haard > 3"),
        ("SEARCH", "fields", ["metadata.hoard"], ["metadata.haard"]),
        ("SEARCH", "must", [SECRET], ["zeppelim"]),
        ("SEARCH", "must_not", [SECRET], ["zeppelim"]),
        ("SEARCH", "phrases", [f"a {SECRET}"], ["a zeppelim"]),
        ("EXPLAIN", "id", hidden["id"], never),
        ("EXPLAIN", "id", "s1", "x1"),
        ("ABOVE", "above", hidden["id"], never),
        ("ABOVE", "above", "s1", "x1"),
    ]
    for method, what, there, nowhere in pairs:
        answers = []
        for asked in (there, nowhere):
            if method == "SEARCH":
                body = {what: asked} if what.endswith("like") else {"query": "radio", what: asked}
                answer = house.ask(rows, "POST", SEARCH, json={"highlight": True, "profile": True, **body})
            elif method in ("EXPLAIN", "ABOVE"):
                body = {"query": "radio", "id": seen["id"], what: asked}
                answer = house.ask(rows, "POST", "/v1/collections/docs/explain", json=body)
            else:
                answer = house.ask(rows, method, what.format(asked))
            names = asked if isinstance(asked, list) else [asked]
            answers.append(told(answer, *names, "hoard", "haard", SECRET, "zeppelim"))
        assert answers[0] == answers[1], (method, what)
    assert house.ask(house.operator, "GET", "/v1/collections/docs/documents/s1").status_code == 200


def test_words_of_hidden_documents_are_not_suggested(house: House, rows: str) -> None:
    answer = house.ask(rows, "POST", SEARCH, json={"query": "zepelin radoi"}).json()
    assert SECRET not in json.dumps(answer["suggestions"])
    assert SECRET in json.dumps(house.ask(house.operator, "POST", SEARCH, json={"query": "zepelin"}).json())


def test_records_and_cursors_of_another_key_open_nothing(house: House, rows: str) -> None:
    page = house.ask(house.operator, "POST", SEARCH, json={"query": "number", "k": 2, "explain": "words"}).json()
    answer = house.ask(rows, "POST", SEARCH, json={"query": "number", "k": 2, "cursor": page["next"]})
    assert "belongs to another query" in error_of(answer, 400)["message"]
    record = hits(house, house.operator, query=SECRET, k=1, explain="words")[0]["explanation"]
    replayed = house.ask(rows, "POST", "/v1/replay", json={"explanation": record}).json()
    assert (replayed["agrees"], replayed["score_now"]) == (False, None)
    record["provenance"]["id"] = 10**12
    never = house.ask(rows, "POST", "/v1/replay", json={"explanation": record}).json()
    for answer in (replayed, never):
        del answer["request_id"], answer["id"]
    assert replayed == never


def test_deleting_by_filter_reaches_no_hidden_document(house: House, rows: str) -> None:
    path = "/v1/collections/docs/documents:delete"
    for filter in ('branch = "south"', 'hoard = "gold 1"', 'not (branch = "north")'):
        assert house.ask(rows, "POST", path, json={"filter": filter}).json()["deleted"] == 0
    assert house.ask(house.operator, "GET", "/v1/collections/docs").json()["documents"] == 10


@pytest.mark.parametrize("name", [2024, 1.5, True, None, ["2024"], {"2024": 1}])
def test_a_record_whose_collection_is_no_text_is_refused(house: House, name: Any) -> None:
    """What it would be as a text may be the name of somebody's collection."""
    for stored in ("2024", "1.5", "True", "None"):
        house.collection(house.operator, stored, SOUTH)
    acme = house.key("admin", tenant="acme")
    house.collection(acme, "own", NORTH)
    found = house.ask(acme, "POST", "/v1/collections/own/search", json={"query": "radio", "explain": "words"}).json()
    record = found["hits"][0]["explanation"]
    record["provenance"] |= {"collection": name, "id": 1}
    answer = house.ask(acme, "POST", "/v1/replay", json={"explanation": record})
    assert error_of(answer, 400)["code"] == "invalid_input"
    assert error_of(answer, 400)["message"].endswith('TypeError("the collection\'s name is no text")')
    assert SECRET not in answer.text


NAMES = (
    "beta~docs", "beta%7Edocs", "~docs", "beta~docs!1", "docs!1", "docs!01", "docs%211", "docs%21", "..%2fdocs",
    "beta%2fdocs", "docs%00", "docs%0A", "docs%20", "DOCS", "d%CE%BFcs", "%EF%BD%84ocs", "docs%CC%81", "acme~docs",
    "acme~acme~docs", "beta%EF%BD%9Edocs", "*", "d*", "%2A~docs", "docs%C2%AD", "do%E2%80%8Bcs",
)  # fmt: skip


def test_names_that_look_like_those_of_others_reach_nothing_of_theirs(house: House) -> None:
    acme, beta = (house.key("admin", tenant=tenant) for tenant in ("acme", "beta"))
    house.collection(beta, "docs", SOUTH)
    house.collection(house.operator, "docs", SOUTH)
    for name in NAMES:
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/stats", None),
            ("GET", "/documents", None),
            ("GET", "/documents/s1", None),
            ("POST", "/search", {"query": SECRET}),
            ("POST", "/search:batch", {"queries": [{"query": SECRET}]}),
            ("POST", "/explain", {"query": SECRET, "id": 1}),
            ("POST", "/documents", {"documents": [{"id": "a", "text": "mine"}]}),
            ("POST", "/documents:delete", {"filter": 'branch = "south"'}),
            ("PATCH", "", {"settings": {"b": 0.1}}),
            ("DELETE", "", None),
        ):
            answer = house.ask(acme, method, f"/v1/collections/{name}{path}", json=body)
            assert answer.status_code in (404, 405, 422), (name, method, path, answer.text)
            assert SECRET not in answer.text.replace(f'"{SECRET}"', "")
            assert "beta~" not in answer.text.replace(name, "").replace("beta~docs", "", 1)
        assert house.ask(acme, "POST", "/v1/collections", json={"name": name}).status_code in (201, 400)
    for key in (beta, house.operator):
        assert house.ask(key, "GET", "/v1/collections/docs").json()["documents"] == 5


def test_a_pattern_says_nothing_of_other_generations(house: House) -> None:
    house.collection(house.operator, "docs", SOUTH)
    path = "/v1/admin/collections/docs/reindex"
    begun = house.ask(house.operator, "POST", path, json={"settings": {"title_weight": 3}, "auto_switch": False}).json()
    other = f"docs!{begun['id']}"
    search = f"/v1/collections/docs%21{begun['id']}/search"
    for pattern, status in (("*1", 404), (f"*{begun['id']}", 404), ("docs", 200), ("d*", 200), ("dog*", 404)):
        key = house.key("search", collections=[pattern])
        answer = house.ask(key, "POST", search, json={"query": SECRET})
        assert answer.status_code == status, (pattern, answer.text)
    assert begun["other_generation"] == other
    house.ask(house.operator, "POST", f"{path}/cancel")


def test_patterns_are_told_apart_by_case_and_cannot_be_empty(house: House) -> None:
    house.collection(house.operator, "Alpha", NORTH)
    for pattern, status in (("a*", 404), ("A*", 200), ("alpha", 404), ("Alpha", 200)):
        key = house.key("search", collections=[pattern])
        assert house.ask(key, "GET", "/v1/collections/Alpha").status_code == status
    for pattern in ("", " ", "[A]*", "?lpha", "A~B~C", "Αlpha", "A*\n"):
        body = {"name": "x", "role": "search", "collections": [pattern]}
        assert house.ask(house.operator, "POST", "/v1/admin/keys", json=body).status_code in (400, 422), pattern


def test_a_reindex_costs_the_tokens_that_it_makes_models_read(house: House) -> None:
    key = house.key("admin", tenant="acme", limits={"tokens_per_minute": 10_000})
    house.collection(key, "docs", [{"id": str(i), "title": "T", "text": "x" * 399} for i in range(4)])
    path = "/v1/admin/collections/docs/reindex"
    before = left(house.ask(key, "GET", "/v1/collections").headers["RateLimit"])
    answer = house.ask(key, "POST", path, json={"settings": {"title_weight": 3}, "auto_switch": False})
    assert answer.status_code == 202, answer.text
    assert before - left(answer.headers["RateLimit"]) >= 400
    house.ask(key, "POST", f"{path}/cancel")


def test_line_breaks_in_paths_change_no_limit(open_house: Callable[..., House]) -> None:
    house = open_house(limits={"prompt_bytes": 2000})
    body = json.dumps({"model": "default", "input": "x " * 2000})
    for path in ("/v1/embeddings", "/v1/embeddings%0A", "/embeddings%0a", "/semantic_embed%0A", "/explain%0A"):
        answer = house.ask(house.operator, "POST", path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 or "there is nothing at" in answer.text, (path, answer.text[:300])
    for path in ("/metrics%0A", "/v1/admin/keys%0A", "/v1//admin/keys", "/METRICS"):
        assert house.ask(None, "GET", path).status_code in (401, 404), path


def test_the_last_key_of_an_operator_cannot_be_deleted(house: House) -> None:
    [only] = house.ask(house.operator, "GET", "/v1/admin/keys").json()["keys"]
    house.made("admin", tenant="acme")
    house.made("admin", collections=["*"])
    house.made("search")
    assert (
        error_of(house.ask(house.operator, "DELETE", f"/v1/admin/keys/{only['id']}"), 409)["code"] == "last_admin_key"
    )
    rotated = house.ask(house.operator, "POST", f"/v1/admin/keys/{only['id']}/rotate", json={"overlap_seconds": 60})
    heir, key = rotated.json()["id"], rotated.json()["key"]
    refused = house.ask(house.operator, "DELETE", f"/v1/admin/keys/{heir}")
    assert error_of(refused, 409)["code"] == "last_admin_key", "the old one ends in a minute"
    assert house.ask(key, "DELETE", f"/v1/admin/keys/{only['id']}").status_code == 200
    assert house.ask(house.operator, "GET", "/v1/admin/keys").status_code == 401
    assert house.ask(key, "GET", "/v1/admin/keys").status_code == 200
