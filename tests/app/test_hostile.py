"""Requests that mean harm: what they may cost is bounded, and each is answered for what it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api import bulk

BULK = "/v1/collections/goods/documents:bulk"
HALF = "\ud800"  # of a surrogate pair: JSON can write it, UTF-8 cannot


def unpacked(client: TestClient, content: bytes) -> Any:
    packed = gzip.compress(content)
    assert len(packed) < len(content) / 100
    answer = client.post(BULK, content=packed, headers={"Content-Encoding": "gzip"})
    assert client.get("/v1/jobs").json()["jobs"] == []
    return answer


def test_lines_that_are_no_documents_are_kept_up_to_a_number(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_BROKEN_LINES", 6000)
    answer = unpacked(client, b"{" + b"}\n{" * 20_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unreadable_file")
    assert "more than 6000 lines are no documents" in answer.json()["error"]["message"]


def test_blank_lines_without_end_are_not_read(client: TestClient) -> None:
    answer = unpacked(client, b"\n" * 2_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unreadable_file")
    assert "1000000 blank lines in a row end at line 1000001" in answer.json()["error"]["message"]


def test_a_line_that_unpacks_to_more_than_a_body_may_have_is_refused(make_client: Callable[..., TestClient]) -> None:
    client = make_client(limits={"bulk_bytes": 2**20, "line_characters": 1000})
    client.post("/v1/collections", json={"name": "goods"})
    answer = unpacked(client, b"a" * 5_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "once it is unpacked" in answer.json()["error"]["message"]


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, *path, key)


def with_other(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = with_other(value[path[0]], path[1:], other)
    return copied


def test_an_explanation_that_was_tampered_with_is_no_failure_of_the_server(client: TestClient) -> None:
    search = {"query": "games on my TV", "k": 1, "explain": "words", "filter": {"price": {"gt": 1}}}
    made = client.post("/v1/collections/goods/search", json=search).json()["hits"][0]["explanation"]
    assert client.post("/v1/replay", json={"explanation": made}).json()["agrees"]
    made["words"], made["sentences"] = made["words"][:1], made["sentences"][:1]  # each like the next
    statuses, others = set(), tuple[Any, ...](({}, HALF))
    for path in [*[("provenance", *path) for path in places(made["provenance"])], *[(name,) for name in made]]:
        for other in others:
            body = json.dumps({"explanation": with_other(made, path, other) if path else other})
            answer = client.post("/v1/replay", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, f"{path} {other!r:.40}: {answer.text}"
            statuses.add(answer.status_code)
    assert statuses >= {200, 400}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 5000])
@pytest.mark.parametrize("place", ["%s", "[1, %s]", '{"a": [{"b": %s}]}'])
def test_numbers_that_json_cannot_give_back_are_taken_nowhere(client: TestClient, number: str, place: str) -> None:
    value, json_type = place % number, {"Content-Type": "application/json"}
    documents = "/v1/collections/goods/documents"
    before = client.get(documents).json()
    put = client.put(f"{documents}/new", content=f'{{"text": "new", "metadata": {{"q": {value}}}}}', headers=json_type)
    bare = put.json()["error"]["message"]
    assert put.status_code == 400
    assert "too many digits" in bare or (bare.startswith("metadata.q") and "must be a finite number" in bare)
    sent = f'{{"documents": [{{"id": "new", "text": "new", "metadata": {{"q": {value}}}}}]}}'
    posted = client.post(documents, content=sent, headers=json_type)
    if posted.status_code == 200:
        [failure] = posted.json()["errors"]
        assert (failure["code"], failure["id"], failure["line"]) == ("invalid_document", "new", 1)
        assert failure["reason"] == bare
    else:
        assert (posted.status_code, posted.json()["error"]["message"]) == (400, bare)
    lines = [
        f'{{"id": "new", "text": "new", "q": {value}}}',
        f'{{"id": {value}, "text": "new"}}',
        f'{{"text": {value}}}',
    ]
    fine = '{"id": "fine", "text": "A fine radio."}'
    report = client.post(f"{BULK}?wait=true", content="\n".join([*lines, fine])).json()
    assert (report["created"], report["failed"]) == (1, 3)
    assert [(error["code"], error["line"]) for error in report["errors"]] == [
        ("invalid_document", line) for line in (1, 2, 3)
    ]
    search = client.post(
        "/v1/collections/goods/search", content=f'{{"query": "new", "filter": {{"price": {value}}}}}', headers=json_type
    )
    assert search.status_code == 400
    client.delete(f"{documents}/fine")
    assert client.get(documents).json() == before


def test_no_answer_repeats_a_name_that_is_as_long_as_a_body(client: TestClient) -> None:
    name, headers = "k" * 200_000, {"Content-Type": "application/json"}
    search = f'{{"query": "x", "emphasis": {{"{name}": NaN}}}}'
    bodies = [
        ("PUT", "/v1/collections/goods/documents/new", f'{{"text": "x", "metadata": {{"{name}": NaN}}}}'),
        ("POST", f"{BULK}?wait=true", f'{{"text": "x", "{name}": 1e999}}'),
        ("POST", f"{BULK}?wait=true", f'{{"{name}": "x"}}'),
        ("POST", "/v1/collections/goods/search", search),
        ("POST", "/v1/collections/goods/search:batch", f'{{"queries": [{search}]}}'),
    ]
    for method, path, body in bodies:
        answer = client.request(method, path, content=body, headers=headers)
        assert "kkk" in answer.text
        assert len(answer.content) < 10_000, (path, answer.text[:200])


@pytest.mark.parametrize("filter", [{"branch": HALF}, {HALF: "north"}, f'branch = "{HALF}"'])
def test_a_key_with_half_a_character_is_refused_and_the_list_stays_readable(client: TestClient, filter: Any) -> None:
    body = json.dumps({"name": "a key", "role": "search", "filter": filter})
    answer = client.post("/v1/admin/keys", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "filter")
    assert client.get("/v1/admin/keys").json() == {"keys": []}


@pytest.mark.parametrize("text", ["", HALF, "a\0b"])
def test_a_judged_query_that_cannot_be_searched_begins_no_reindex(client: TestClient, text: str) -> None:
    judgements = {"queries": {"a": "games", HALF: text}, "qrels": {"a": {"console": 1, HALF: 0}}}
    body = json.dumps({"settings": {"passage_tokens": 64}, "judgements": judgements})
    path = "/v1/admin/collections/goods/reindex"
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "judgements")
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/collections", "GET, POST"),
        ("/v1/collections/goods", "DELETE, GET, PATCH"),
        ("/v1/collections/goods/documents/tv", "DELETE, GET, PATCH, PUT"),
        ("/v1/admin/aliases/shop", "DELETE, GET, PUT"),
        ("/livez", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_taken_is_told_all_that_are(client: TestClient, path: str, allowed: str) -> None:
    answer = client.request("TRACE", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert f"allowed are {allowed};" in answer.json()["error"]["message"]
