"""Everything that a search can be asked over HTTP and on the command line, and how it is refused."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.cli.inputs import example_ids, field_names, vector_of
from core.errors import InvalidQuery
from core.prompts import Prompt
from core.records import Representation
from embedder.local import LocalEncoder
from tests.app.answers import SEARCH, ask, error_of, ids
from tests.app.conftest import DOCUMENTS

BATCH = "/v1/collections/goods/search:batch"
Salience = Callable[..., tuple[int, str, str]]
TEXT = "play games on my TV"


def test_the_same_query_as_text_prompt_and_vector(client: TestClient, encoder: LocalEncoder) -> None:
    text = ask(client, query=TEXT)
    control = {"start": 0, "length": 4, "factor": 7}
    steered = ask(client, query=TEXT, controls=[control])
    item = {"type": "text", "text": TEXT}
    assert ask(client, prompt=[item])["hits"] == text["hits"]
    assert ask(client, prompt=[{**item, "controls": [control]}])["hits"] == steered["hits"] != text["hits"]
    vector = [float(value) for value in encoder.encode([Prompt.of(TEXT)], Representation.QUERY).vectors[0]]
    beside = ask(client, query=TEXT, vector=vector)
    assert ids(beside) == ids(text)
    assert beside["query"] == TEXT
    alone = ask(client, vector=vector)
    assert alone["legs"] == ["dense"]
    assert alone["query"] == ""
    token_ids = {"type": "token_ids", "ids": encoder.tokenizer.ids(TEXT)}
    assert ids(ask(client, prompt=[token_ids])) == ids(alone)
    several = ask(client, prompt=[{"type": "text", "text": "play games"}, {"type": "text", "text": "on my TV"}])
    assert several["query"] == "play games\non my TV"


def test_examples_are_left_out_and_can_be_explained(client: TestClient) -> None:
    hit = ask(client, query="radio")["hits"][0]
    for like in (["radio"], [hit["id"]]):
        assert sorted(ids(ask(client, like=like))) == ["console", "tv"]
    found = ask(client, query="kitchen", like=["console"], unlike=["tv"])
    assert ids(found) == ["radio"]
    body = {"query": "kitchen", "like": ["console"], "unlike": ["tv"], "id": hit["id"]}
    explained = client.post("/v1/collections/goods/explain", json=body).json()["hits"][0]
    assert explained["score"] == found["hits"][0]["score"]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({}, 400, "invalid_query", "query is empty"),
        ({"query": "", "like": ["tv"]}, 400, "invalid_query", "query is empty"),
        ({"unlike": ["tv"]}, 400, "invalid_query", "query is empty"),
        ({"query": "a", "prompt": [{"type": "text", "text": "b"}]}, 400, "invalid_query", "not both"),
        ({"like": ["tv"], "emphasis": {"play": 2}}, 400, "invalid_control", "emphasis and controls steer the text"),
        ({"vector": [0.0] * 384}, 400, "invalid_query", "nothing but zeros"),
        ({"vector": []}, 400, "invalid_query", "1 to 65536"),
        ({"vector": [1.0, 2.0]}, 400, "invalid_query", "384 dimensions"),
        ({"vector": [1.0, "2"]}, 422, "malformed_request", "vector[1]"),
        ({"sparse_vector": {"ids": [1], "weights": [0.5]}}, 400, "invalid_query", "no learned weights"),
        ({"sparse_vector": {"ids": [1, 1], "weights": [1, 1]}}, 400, "invalid_query", "twice"),
        ({"sparse_vector": {"ids": [1], "weights": []}}, 400, "invalid_query", "1 ids and 0 weights"),
        ({"like": ["nowhere"]}, 404, "document_not_found", "'nowhere'"),
        ({"like": [10**6]}, 404, "hit_not_found", "passage 1000000"),
        ({"like": [10**40]}, 422, "malformed_request", "like[0]: must be the id of a document, a text, or"),
        ({"like": ["tv"], "unlike": ["tv"]}, 400, "invalid_query", "twice"),
        ({"like": ["a"] * 101}, 422, "malformed_request", "like"),
        ({"prompt": []}, 422, "malformed_request", "prompt"),
        ({"prompt": [{"type": "sound", "data": ""}]}, 422, "malformed_request", "type"),
        ({"prompt": [{"type": "image", "data": "!"}]}, 400, "invalid_input", "prompt[0]"),
        ({"prompt": [{"type": "image", "data": "aGk="}]}, 400, "invalid_input", "image"),
        (
            {"prompt": [{"type": "text", "text": "a", "controls": [{"start": 9, "length": 1, "factor": 2}]}]},
            400, "invalid_control", "prompt[0]",
        ),
        ({"query": "a", "cursor": "nonsense"}, 400, "invalid_query", "invalid cursor: send the `next` value"),
        ({"query": "a", "cursor": "x" * 201}, 422, "malformed_request", "cursor"),
        ({"query": "a", "fields": ["titel"]}, 400, "invalid_query", "did you mean 'title'"),
        ({"query": "a", "timeout_ms": 0}, 422, "malformed_request", "timeout_ms"),
        ({"query": "a", "timeout_seconds": 1}, 422, "malformed_request", "did you mean 'timeout_ms'"),
        ({"query": "a", "size": 1}, 422, "malformed_request", "unknown key 'size'; did you mean 'k'? allowed are"),
        ({"query": "a", "aggs": {}}, 422, "malformed_request", "did you mean 'facets'?"),
        ({"query": "a", "with_payload": True}, 422, "malformed_request", "did you mean 'fields'?"),
        ({"query": "a", "sort": "price"}, 422, "malformed_request", "unknown key 'sort'; allowed are"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_for_is_refused(
    client: TestClient, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    error = error_of(client.post(SEARCH, json=body), status)
    assert error["code"] == code
    assert said in error["message"]


def test_pages_by_cursor(client: TestClient) -> None:
    whole = ask(client, query=TEXT, k=3)
    assert whole["next"] is None
    pages, cursor = [], None
    for _ in DOCUMENTS:
        page = ask(client, query=TEXT, k=1, cursor=cursor)
        pages += page["hits"]
        assert page["changed"] is False
        cursor = page["next"]
    assert cursor is None
    assert pages == whole["hits"]
    cursor = ask(client, query=TEXT, k=1)["next"]
    other = error_of(client.post(SEARCH, json={"query": "radio", "cursor": cursor}), 400)
    assert (other["param"], "another query" in other["message"]) == ("cursor", True)
    client.put("/v1/collections/goods/documents/new", json={"text": "A new lamp."})
    assert ask(client, query=TEXT, k=1, cursor=cursor)["changed"] is True
    client.delete("/v1/collections/goods")
    client.post("/v1/collections", json={"name": "goods"})
    client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS})
    expired = error_of(client.post(SEARCH, json={"query": TEXT, "cursor": cursor}), 409)
    assert expired["code"] == "cursor_expired"


@pytest.mark.parametrize(
    "body",
    [
        {"query": "play^7 on my TV", "explain": "words"},
        {"query": TEXT, "k": 1, "profile": True, "filter": "price < 400"},
        {"like": ["tv"], "fusion": "rrf", "fields": ["metadata"]},
    ],
)
def test_the_same_query_twice_gives_the_same_bytes(client: TestClient, body: dict[str, Any]) -> None:
    """But for times and the request's id; `next` too is the same cursor."""
    once, again = (ask(client, **body) for _ in range(2))
    for answer in (once, again):
        del answer["took_ms"], answer["request_id"]
    assert json.dumps(once) == json.dumps(again)


def test_a_batch_waits_once_for_a_seq_that_does_not_come(client: TestClient) -> None:
    """Not as often as there are queries."""
    start = time.monotonic()
    late = {"query": TEXT, "min_seq": 10**9, "timeout_ms": 1000}
    answers = client.post(BATCH, json={"queries": [late] * 20 + [{"query": TEXT}]}).json()["answers"]
    assert [answer["status"] for answer in answers] == [503] * 20 + [200]
    assert time.monotonic() - start < 15


def test_fields_choose_what_is_returned(client: TestClient) -> None:
    everything = ask(client, query="TV")["hits"][0]
    some = ask(client, query="TV", fields=["title", "metadata.price", "metadata.nowhere"])["hits"][0]
    assert some["title"] == everything["title"]
    assert some["metadata"] == {"price": everything["metadata"]["price"]}
    assert some["passage"] == {**everything["passage"], "text": None}
    none = ask(client, query="TV", fields=[])["hits"][0]
    assert (none["title"], none["metadata"], none["passage"]["text"]) == (None, {}, None)
    assert (none["id"], none["score"]) == (everything["id"], everything["score"])


def test_a_timeout_marks_the_answer_and_is_never_a_5xx(client: TestClient) -> None:
    hurried = ask(client, query=TEXT, timeout_ms=1, explain="words", legs=["dense"])
    assert hurried["timed_out"] is True
    asked = set(hurried["left_out"]) - {"suggestions"}
    assert (asked, hurried["hits"]) == ({"dense"}, []) or asked == {"explain"}
    calm = ask(client, query=TEXT, timeout_ms=60_000)
    assert (calm["timed_out"], calm["left_out"]) == (False, [])
    assert calm["hits"] == ask(client, query=TEXT)["hits"]


def test_the_wait_for_a_seq_is_a_part_of_the_timeout(client: TestClient) -> None:
    seq = ask(client, query=TEXT)["seq"]
    assert ask(client, query=TEXT, min_seq=seq, timeout_ms=60_000)["timed_out"] is False
    late = error_of(client.post(SEARCH, json={"query": TEXT, "min_seq": seq + 1, "timeout_ms": 50}), 503)
    waited = re.search(r"0\.0\d+ s", late["message"])  # what is left of it since the request arrived
    assert (late["code"], waited is not None) == ("seq_not_reached", True)


def test_a_profile_says_what_the_search_had_to_do(client: TestClient) -> None:
    found = ask(client, query=TEXT, profile=True, filter={"price": {"lt": 400}})
    assert found["profile"]["filter"] == {"passages": 2, "selectivity": pytest.approx(2 / 3)}
    assert found["profile"]["passages"] == 3
    assert found["profile"]["legs"]["dense"] == found["profile"]["candidates"] == 2
    assert {"encode", "filter", "dense", "sparse", "score", "rank", "fetch"} <= set(found["took_ms"])
    assert ask(client, query=TEXT)["profile"] is None


def test_several_queries_have_each_its_answer_or_its_error(client: TestClient) -> None:
    bodies: list[Any] = [
        {"query": TEXT, "explain": "words", "k": 2},
        {"query": "radio", "filter": {"prise": 1}},
        {"query": "radio", "kk": 1},
        "radio",
        {"like": ["tv"], "fields": []},
        {"query": "radio", "min_seq": 10**9, "timeout_ms": 10},
        {"query": "radio", "k": 10**6},
    ]
    response = client.post(BATCH, json={"queries": bodies})
    assert response.status_code == 200
    answers = response.json()["answers"]
    assert [answer["status"] for answer in answers] == [200, 400, 422, 422, 200, 503, 400]
    for body, answer in zip(bodies, answers, strict=True):
        alone = client.post(SEARCH, json=body)
        assert answer["status"] == alone.status_code
        if alone.status_code == 200:
            assert answer["error"] is None
            for key in ("hits", "legs", "query", "seq"):
                assert answer["result"][key] == alone.json()[key]
        else:
            assert answer["result"] is None
            wanted = alone.json()["error"]
            assert answer["error"]["request_id"] == response.headers["X-Request-ID"]
            assert (answer["error"]["code"], answer["error"]["param"]) == (wanted["code"], wanted["param"])
            if isinstance(body, dict) and alone.status_code != 503:  # which says how long it waited
                assert answer["error"]["message"] == wanted["message"]


def test_a_batch_has_limits_and_its_collection_has_to_be_there(client: TestClient) -> None:
    for queries in ([], [{"query": "a"}] * 65):
        assert error_of(client.post(BATCH, json={"queries": queries}), 422)["param"] == "queries"
    gone = client.post(BATCH.replace("goods", "nowhere"), json={"queries": [{"query": "a"}]})
    assert error_of(gone, 404)["code"] == "collection_not_found"


@pytest.fixture
def goods(salience: Salience, tmp_path: Path) -> Salience:
    """The command line over the collection "goods", which holds DOCUMENTS."""
    lines = [json.dumps(document) for document in DOCUMENTS]
    source = tmp_path / "goods.jsonl"
    source.write_text("\n".join(lines))
    code, _, error = salience("add", str(source), "-c", "goods")
    assert code == 0, error
    return salience


def told(answer: tuple[int, str, str]) -> dict[str, Any]:
    code, out, error = answer
    assert code == 0, error
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_command_line_searches_by_examples_vectors_and_cursors(
    goods: Salience, encoder: LocalEncoder, tmp_path: Path
) -> None:
    assert sorted(ids(told(goods("search", "--like", "radio", "-c", "goods", "--json")))) == ["console", "tv"]
    first = told(goods("search", TEXT, "-c", "goods", "--json", "-k", "1"))
    second = told(goods("search", TEXT, "-c", "goods", "--json", "-k", "1", "--cursor", first["next"]))
    third = told(goods("search", TEXT, "-c", "goods", "--json", "-k", "1", "--offset", "2"))
    assert ids(first) + ids(second) + ids(third) == ids(told(goods("search", TEXT, "-c", "goods", "--json")))
    hit = f"#{first['hits'][0]['id']}"
    assert ids(first)[0] not in ids(told(goods("search", "--like", hit, "-c", "goods", "--json")))
    vector = encoder.encode([Prompt.of("a radio")], Representation.QUERY).vectors[0]
    (tmp_path / "vector.json").write_text(json.dumps([float(value) for value in vector]))
    np.save(tmp_path / "vector.npy", vector)
    for name in ("vector.json", "vector.npy"):
        found = told(goods("search", "--vector", str(tmp_path / name), "-c", "goods", "--json"))
        assert (ids(found)[0], found["legs"]) == ("radio", ["dense"])
    code, _, error = goods("search", "-c", "goods")
    assert (code, "query is empty" in error) == (1, True)


def test_the_command_line_shows_chosen_fields_and_a_profile(goods: Salience) -> None:
    code, out, _ = goods("search", "TV", "-c", "goods", "--fields", "title,metadata.price", "-k", "1", "--profile")
    assert code == 0
    assert "bright screen" not in out
    assert "price" in out
    assert "milliseconds: encode" in out
    assert "of 3 passages in" in out
    code, _, error = goods("search", "TV", "-c", "goods", "--leg", "dense", "--timeout-ms", "1")
    assert (code, "left out: dense" in error or "nothing found" not in error) == (0, True)
    code, _, error = goods("search", "--image", "/nowhere/a.png", "-c", "goods")
    assert (code, "cannot read /nowhere/a.png" in error) == (1, True)


def test_vectors_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    assert vector_of(None) is None
    assert vector_of(written("a.json", b"[1, -0.5]")) == [1.0, -0.5]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[2]")))
    assert vector_of(Path("-")) == [2.0]
    row = io.BytesIO()
    np.save(row, np.ones((1, 3), dtype=np.float16))
    assert vector_of(written("a.npy", row.getvalue())) == [1.0, 1.0, 1.0]
    table = io.BytesIO()
    np.save(table, np.ones((2, 3)))
    for name, content, said in (
        ("b.json", b"{", "not JSON"),
        ("c.json", b'["1"]', "array of numbers"),
        ("d.json", b"[true]", "array of numbers"),
        ("e.json", b"[1" + b"0" * 400 + b"]", "beyond"),
        ("f.npy", b"no", "cannot be read"),
        ("g.npy", table.getvalue(), "one row"),
    ):
        with pytest.raises(InvalidQuery, match=said):
            vector_of(written(name, content))
    with pytest.raises(InvalidQuery, match="cannot read"):
        vector_of(tmp_path / "missing.json")


def test_ids_and_names_on_the_command_line() -> None:
    assert example_ids(["tv", "#7", "#x", "7"]) == ["tv", 7, "#x", "7"]
    assert example_ids(None) == []
    assert field_names(None) is None
    assert field_names([""]) == []
    assert field_names(["title, metadata.a", "text"]) == ["title", "metadata.a", "text"]
