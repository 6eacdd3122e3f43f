"""Both clients against a real server with the real model."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import json
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salience.client import Client, Control, errors
from salience.client.search_results import Line
from tests.salience.client.conftest import TOKEN, Face

DOCUMENTS = [
    {"id": "console", "text": "A gaming console: play games on your TV with friends.", "metadata": {"price": 299}},
    {"id": "tv", "title": "Television", "text": "A TV with a bright screen for films.", "metadata": {"price": 499}},
    {"id": "radio", "text": "A radio for the kitchen. It wakes you up, too.", "metadata": {"price": 49}},
]


@pytest.fixture
def client(make_face: Callable[..., Face], address: str) -> Iterator[Face]:
    """With a collection "goods" of DOCUMENTS."""
    client = make_face(address, key=TOKEN)
    client.create_collection("goods", settings={"language": "en"})
    report = client.add_documents("goods", DOCUMENTS)
    assert (report.created, report.errors) == (3, ())
    yield client
    client.delete_collection("goods")


def values(line: Line) -> float:
    return line.value if not line.details else math.fsum(values(detail) for detail in line.details)


def test_searching_steering_and_reasons(client: Face) -> None:
    found = client.search("goods", "I want to play on my TV.", k=2, explain="words", filter="price < 1000")
    assert [hit.document_id for hit in found.hits] == ["console", "tv"]
    assert found.hits[0].metadata == {"price": 299}
    assert found.hits[1].title == "Television"
    assert set(found.hits[0].scores) == {"dense", "sparse"}
    for hit in found.hits:
        assert hit.explanation is not None
        assert values(hit.explanation.ledger) == pytest.approx(hit.score, abs=1e-6)
    steered = client.search("goods", "play or films^9", k=1)
    assert steered.query == "play or films"
    assert steered.controls == (Control(start=8, length=5, factor=9.0),)
    assert steered.hits[0].document_id == "tv"
    same = client.search("goods", "play or films", controls=[Control(start=8, length=5, factor=9.0)], k=1)
    assert same.hits == steered.hits


def test_several_searches_have_a_result_or_an_error_each(client: Face) -> None:
    first, second, third = client.search_many(
        "goods", ["a radio for the kitchen", {"query": "games", "k": 1, "emphasis": {"games": 2.0}}, {"query": ""}]
    )
    assert first.hits[0].document_id == "radio"
    assert [hit.document_id for hit in second.hits] == ["console"]
    assert isinstance(third, errors.InvalidQuery)
    assert third.status == 400
    assert third.request_id == first.request_id


def test_explaining_one_hit_and_replaying_it(client: Face) -> None:
    found = client.search("goods", "games for my TV")
    best, other = found.hits[0].id, found.hits[1].id
    explained = client.explain("goods", "games for my TV", best, above=other)
    assert [hit.id for hit in explained.hits] == [best, other]
    named = client.explain("goods", "games for my TV", found.hits[0].document_id, above=found.hits[1].document_id)
    assert [hit.id for hit in named.hits] == [best, other]
    explanation = explained.hits[0].explanation
    assert explanation.contrast is not None
    assert explanation.contrast.other == other
    for kept in (explanation, json.loads(json.dumps(dataclasses.asdict(explanation)))):
        replayed = client.replay(kept)
        assert (replayed.agrees, replayed.changed) == (True, ())
    client.put_document("goods", found.hits[0].document_id, "Something else.")
    assert "document" in client.replay(explanation).changed


def test_all_hits_by_cursors_are_those_of_one_search(client: Face) -> None:
    client.add_documents("goods", [{"id": f"lamp-{n}", "text": f"A lamp number {n} for the desk."} for n in range(12)])
    whole = client.search("goods", "a lamp for the desk", k=100)
    assert len(whole.hits) == 15
    paged = client.search_all("goods", "a lamp for the desk", k=4)
    assert [(hit.id, hit.score) for hit in paged] == [(hit.id, hit.score) for hit in whole.hits]
    begun_later = client.search_all("goods", "a lamp for the desk", k=4, offset=5)
    assert [hit.id for hit in begun_later] == [hit.id for hit in whole.hits][5:]
    with pytest.raises(ValueError, match="groups have none"):  # the first page alone would look like all
        client.search_all("goods", "a lamp for the desk", group_by="price")


def test_documents(client: Face) -> None:
    seq = client.put_document("goods", "a/b?c#d", "A lamp.", title="Lamp", metadata={"price": 5, "tags": ["new"]}).seq
    got = client.get_document("goods", "a/b?c#d", min_seq=seq)
    assert (got.text, got.title, got.metadata) == ("A lamp.", "Lamp", {"price": 5, "tags": ["new"]})
    assert [(span.start, span.end) for span in got.passages] == [(0, 7)]
    assert [document.id for document in client.iter_documents("goods")] == ["a/b?c#d", "console", "radio", "tv"]
    page = client.list_documents("goods", limit=2)
    assert (len(page.documents), page.next) == (2, "console")
    gone = client.delete_document("goods", "a/b?c#d")
    assert gone > seq
    with pytest.raises(errors.DocumentNotFound) as caught:
        client.get_document("goods", "a/b?c#d")
    assert (caught.value.status, caught.value.param) == (404, "document_id")
    assert caught.value.request_id is not None
    assert caught.value.request_id in str(caught.value)
    assert client.count_documents("goods") == 3
    assert client.count_documents("goods", {"price": {"gt": 250}}) == 2
    assert [document.id for document in client.iter_documents("goods", filter="price > 250")] == ["console", "tv"]
    deletion = client.delete_documents("goods", {"price": {"gt": 250}})
    assert deletion.deleted == 2
    assert deletion.seq > gone
    changed = client.change_document("goods", "radio", {"price": None, "stock": 3})
    assert (changed.changed, changed.seq > deletion.seq) == (True, True)
    assert client.get_document("goods", "radio").metadata == {"stock": 3}
    assert client.delete_documents("goods", ids=["radio", "tv"]).deleted == 1
    refused = client.add_documents("goods", [{"id": "x", "text": "Fine."}, {"id": "y", "text": ""}])
    assert (refused.created, refused.failed, refused.errors[0].id) == (1, 1, "y")


def test_collections(client: Face) -> None:
    assert "goods" in [collection.name for collection in client.list_collections()]
    with pytest.raises(errors.CollectionExists):
        client.create_collection("goods")
    changed = client.change_collection("goods", alpha=0.25, synonyms=[["tv", "television"]])
    assert changed.settings["alpha"] == 0.25
    assert client.get_collection("goods") == changed
    stats = client.collection_stats("goods")
    assert (stats.documents, stats.segments.files) == (3, 0)
    with pytest.raises(errors.InvalidSettings, match="language"):
        client.change_collection("goods", language="de")


def test_embedding_and_reranking(client: Face) -> None:
    made = client.embed(["a radio", "a television"], representation="query")
    assert [len(vector) for vector in made.vectors] == [384, 384]
    assert math.dist(made.vectors[0], (0.0,) * 384) == pytest.approx(1, abs=1e-5)
    assert (made.model, made.truncated, made.tokens > 4) == ("default", (), True)
    assert len(client.embed(["a radio"], dimensions=128).vectors[0]) == 128
    with pytest.raises(errors.ModelNotFound):
        client.embed(["a radio"], model="nobody")
    for vector in (made.vectors[0], np.array(made.vectors[0], dtype=np.float32)):
        found = client.search("goods", None, vector=vector, k=1)
        assert found.hits[0].document_id == "radio"
    ranked = client.rerank("music in the kitchen", [str(document["text"]) for document in DOCUMENTS], top_n=2)
    assert ranked[0].index == 2
    assert ranked[0].relevance_score > ranked[1].relevance_score
    assert (list(ranked), ranked[1:], len(ranked)) == ([*ranked.results], ranked.results[1:], 2)
    assert ranked.tokens > 10
    assert ranked.truncated == ()
    assert client.rerank("music", ["short", "radio " * 2000]).truncated == (1,)


def test_what_is_no_json_is_not_sent_and_its_place_is_named(client: Face) -> None:
    itself: dict[str, Any] = {}
    itself["more"] = itself
    for metadata, place in (
        ({"sizes": [1, float("nan")]}, r"metadata\.sizes\[1\]"),
        ({"made": {"at": datetime.date(2026, 1, 1)}}, r"metadata\.made\.at"),
        ({"word": "half \ud800"}, r"metadata\.word"),
        (itself, r"metadata\.more\.more"),
    ):
        with pytest.raises(ValueError, match=rf"the request, {place}.*, is no JSON"):
            client.put_document("goods", "new", "text", metadata=metadata)
        documents = [{"text": "fine"}, {"id": "new", "text": "text", "metadata": metadata}]
        with pytest.raises(ValueError, match=rf"the request, documents\[1\]\.{place}.*, is no JSON"):
            client.add_documents("goods", documents)
        with pytest.raises(ValueError, match=rf"document 2, {place}.*, is no JSON"):
            client.add_bulk("goods", documents)
    with pytest.raises(errors.DocumentNotFound):
        client.get_document("goods", "new")
    with pytest.raises(ValueError, match=r"the request, filter\.price\.lt, is no JSON"):
        client.search("goods", "tv", filter={"price": {"lt": float("inf")}})


def test_errors_are_classes_that_carry_what_the_server_said(client: Face) -> None:
    cases: list[tuple[type[errors.RequestFailed], str | None, str, list[Any], dict[str, Any]]] = [
        (errors.InvalidQuery, "k", "search", ["goods", "tv"], {"k": 0}),
        (errors.InvalidControl, None, "search", ["goods", "tv"], {"emphasis": {"tv": 99999}}),
        (errors.InvalidFilter, None, "search", ["goods", "tv"], {"filter": "price <"}),
        (errors.MalformedRequest, None, "search", ["goods", "tv"], {"kk": 3}),
        (errors.CollectionNotFound, None, "search", ["nothing", "tv"], {}),
        (errors.HitNotFound, None, "explain", ["goods", "tv", 10**9], {}),
        (errors.JobNotFound, None, "get_job", [10**9], {}),
        (errors.InvalidDocument, "text", "put_document", ["goods", "a", ""], {}),
        (errors.SeqNotReached, "min_seq", "search", ["goods", "tv"], {"min_seq": 10**9, "timeout_ms": 10}),
    ]
    for kind, param, method, arguments, options in cases:
        with pytest.raises(kind) as caught:
            getattr(client, method)(*arguments, **options)
        assert caught.value.code
        assert caught.value.request_id
        if param is not None:
            assert caught.value.param == param


def test_what_no_address_has_room_for_is_refused_with_the_limit(client: Face) -> None:
    many = ", ".join(f'"{n}"' for n in range(20_000))
    with pytest.raises(ValueError, match="65,536 characters at most"):
        client.iter_documents("goods", filter=f"id in ({many})")
    with pytest.raises(ValueError, match="65,536 characters at most"):
        client.get_document("goods", "a" * 70_000)


def test_the_key_is_sent(make_face: Callable[..., Face], address: str) -> None:
    for key in (None, "wrong"):
        with pytest.raises(errors.Unauthorized):
            make_face(address, key=key).list_collections()
    assert make_face(address).ready().ready


def test_an_address_that_is_none_is_refused_at_once(make_face: Callable[..., Face]) -> None:
    for bad in ("localhost:8080", "", "ftp://localhost", "http://", "http://localhost:port", "http://[::1"):
        with pytest.raises(ValueError, match="is no address"):
            make_face(bad)
    for bad in ("http://localhost:8080/?a=1", "http://localhost:8080#part"):
        with pytest.raises(ValueError, match="no query and no fragment"):
            make_face(bad)
    with pytest.raises(ValueError, match="and not both") as refused:
        make_face("http://user:secret@localhost:8080", key="key")
    assert "secret" not in str(refused.value)
    for timeout in ("a", -1, 0, float("nan"), float("inf"), True, None):
        with pytest.raises(ValueError, match="timeout is"):
            make_face("http://localhost:1", timeout=timeout)
        if timeout is not None:
            with pytest.raises(ValueError, match="timeout is"):
                make_face("http://localhost:1").add_documents("goods", [], timeout=timeout)
    with pytest.raises(ValueError, match="may not be empty"):
        make_face("http://localhost:1").get_document("goods", "")


def test_a_key_that_no_header_carries_is_refused_at_once_and_not_shown(
    make_face: Callable[..., Face], address: str
) -> None:
    for bad in ("sal_prefix_secret\n", " sal_prefix_secret", "sal_prefix_s\u00e9cret", "sal_prefix\r\nsecret", ""):
        with pytest.raises(ValueError, match="the API key must be") as refused:
            make_face(address, key=bad)
        assert "cret" not in str(refused.value)
        with pytest.raises(ValueError, match="the idempotency key must be"):
            make_face(address, key=TOKEN).add_bulk("goods", DOCUMENTS, key=bad)


def test_errors_can_be_copied_and_sent_between_processes(client: Face) -> None:
    with pytest.raises(errors.InvalidQuery) as refused:
        client.search("goods", "tv", k=0)
    unfinished = errors.JobUnfinished("job 1 did not come to its end", id=1, state="failed")
    for error in (refused.value, unfinished, errors.TimedOut("GET /: slow")):
        for same in (copy.copy(error), *(pickle.loads(pickle.dumps(error, version)) for version in range(6))):
            assert (type(same), str(same), same.args, vars(same)) == (type(error), str(error), error.args, vars(error))


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAMES
    | st.sampled_from(
        [
            ".",
            "..",
            "../x",
            "a/../b",
            "%2e%2e",
            "a b",
            "?",
            "#",
            "a/",
            "//",
            "é",
            "\\",
            "a\n",
            "\n",
            "a\nb",
            "\r\n",
            "\0",
        ]
    )
)
def test_any_id_reaches_its_document_and_no_other(address: str, name: str) -> None:
    with Client(address, key=TOKEN) as client:
        with pytest.raises(errors.DocumentNotFound) as caught:
            client.delete_document(_collection(client), name)
        assert f"{name!r:.140}" in caught.value.message


def _collection(client: Client) -> str:
    with contextlib.suppress(errors.CollectionExists):
        client.create_collection("names")
    return "names"


def test_an_id_with_a_line_break_is_one_of_its_own(client: Face) -> None:
    client.put_document("goods", "tv\n", "Another thing.")
    assert client.get_document("goods", "tv").title == "Television"
    client.delete_document("goods", "tv\n")
    assert client.get_document("goods", "tv").title == "Television"
