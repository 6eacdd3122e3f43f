"""Documents that are not what they should be, and collections that go, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from core.prompts import Prompt
from core.records import Embeddings, Representation
from tests.app.bulk import BULK, articles, idle, lines
from tests.indexer.fakes import FakeEncoder
from tests.waiting import until

DOCUMENTS = "/v1/collections/goods/documents"


def test_a_collection_that_is_deleted_under_a_job(tmp_path: Path) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def hold(texts: list[str]) -> None:
        at_work.set()
        assert go_on.wait(30)

    wiring = Wiring(load_settings(data_dir=tmp_path / "data"), encoder=FakeEncoder(hold))
    with TestClient(create_app(wiring), raise_server_exceptions=False) as client:
        client.post("/v1/collections", json={"name": "goods"})
        job = client.post(BULK, content=articles(300)).json()
        assert at_work.wait(30)
        assert client.delete("/v1/collections/goods").status_code == 204
        assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
        go_on.set()
        place = f"/v1/jobs/{job['id']}"
        until(lambda: client.get(place).json()["state"] == "failed")
        gone = client.get(place).json()
        assert gone["reason"] == "the collection 'goods' was deleted"
        assert (gone["created"], gone["pending"]) == (0, 300)
        again = client.post(f"{place}/retry")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "job_conflict")
        # Nothing of it gets into the new collection of that name, whose own jobs are done.
        report = client.post(f"{BULK}?wait=true", content=articles(2)).json()
        assert report["created"] == 2
        assert client.get("/v1/collections/goods").json()["documents"] == 2


def test_a_line_of_a_hundred_megabytes_costs_itself_only(tmp_path: Path) -> None:
    with idle(tmp_path, FakeEncoder()) as client:
        long = b'{"id": "b", "text": "' + b"x" * 100_000_000 + b'"}'
        body = b"\n".join([b'{"id": "a", "text": "One."}', long, b'{"id": "c", "text": "Three."}'])
        report = client.post(f"{BULK}?wait=true", content=body).json()
        assert (report["created"], report["failed"]) == (2, 1)
        assert (report["errors"][0]["code"], report["errors"][0]["line"]) == ("too_large", 2)


LONG = "9" * 4300  # and one digit more is more than Python reads or writes


@pytest.mark.parametrize(
    "control",
    [
        f'{{"text": "b", "factor": {LONG}}}',
        '{"text": "b", "factor": 1e999}',
        f'{{"start": 0, "length": 1, "factor": -{LONG}}}',
        f'{{"start": 0, "length": 1, "factor": {LONG}9}}',
        f'{{"start": {LONG}, "length": 3, "factor": 2}}',
        f'{{"start": 0, "length": {LONG}, "factor": 2}}',
        f'{{"start": {LONG}, "length": {LONG}, "factor": 2}}',
    ],
)
def test_a_number_of_hundreds_of_digits_costs_its_line_only(tmp_path: Path, control: str) -> None:
    with idle(tmp_path, FakeEncoder()) as client:
        bad = f'{{"id": "b", "text": "b", "controls": [{control}]}}'
        answer = client.post(f"{BULK}?wait=true", content=f"{articles(1)}\n{bad}\n{lines({'id': 'c', 'text': 'c'})}")
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert (report["created"], report["failed"]) == (2, 1)
        assert (report["errors"][0]["line"], len(report["errors"][0]["reason"]) < 300) == (2, True)
        json_type = {"Content-Type": "application/json"}
        put = client.put(f"{DOCUMENTS}/b", content=f'{{"text": "b", "controls": [{control}]}}', headers=json_type)
        assert put.status_code in (400, 422), put.text


def test_an_id_of_ten_kilobytes_is_refused_everywhere(tmp_path: Path) -> None:
    long = "n" * 10_240
    with idle(tmp_path, FakeEncoder()) as client:
        put = client.put(f"{DOCUMENTS}/{long}", json={"text": "x"})
        assert (put.status_code, put.json()["error"]["code"]) == (400, "invalid_document")
        assert "10240 characters; at most 512" in put.json()["error"]["message"]
        posted = client.post(
            DOCUMENTS, json={"documents": [{"id": long, "text": "x"}, {"id": "a", "text": "x"}]}
        ).json()
        assert (posted["created"], posted["failed"]) == (1, 1)
        assert len(posted["errors"][0]["reason"]) < 300
        waited = client.post(f"{BULK}?wait=true", content=lines({"id": long, "text": "x"})).json()
        assert (waited["created"], waited["failed"]) == (0, 1)
        for answer in (client.get(f"{DOCUMENTS}/{long}"), client.delete(f"{DOCUMENTS}/{long}")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "document_not_found")


@pytest.mark.parametrize("way", ["documents", "bulk"])
def test_of_the_same_id_twice_the_last_wins_and_it_is_said(tmp_path: Path, way: str) -> None:
    twice: list[dict[str, Any]] = [
        {"id": "a", "text": "First.", "metadata": {"n": 1}},
        {"id": "b", "text": "Other."},
        {"id": "a", "text": "Last.", "metadata": {"m": 2}},
    ]
    with idle(tmp_path, FakeEncoder()) as client:
        if way == "documents":
            report = client.post(DOCUMENTS, json={"documents": twice}).json()
        else:
            report = client.post(f"{BULK}?wait=true", content=lines(*twice)).json()
        assert (report["created"], report["failed"], report["duplicates"]) == (2, 0, ["a"])
        stored = client.get(f"{DOCUMENTS}/a").json()
        assert (stored["text"], stored["metadata"]) == ("Last.", {"m": 2})
        assert client.get("/v1/collections/goods").json()["documents"] == 2


class Cutting(FakeEncoder):
    """Reads no text to its end."""

    def encode(self, prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Embeddings:
        made = super().encode(prompts, representation, **options)
        return replace(made, truncated=np.ones(len(prompts), bool))


@pytest.mark.parametrize("way", ["documents", "bulk"])
def test_a_report_counts_what_its_lists_leave_out(tmp_path: Path, way: str) -> None:
    twice = [{"id": f"{number}", "text": f"Text {number}."} for number in range(1_003)] * 2
    with idle(tmp_path, Cutting()) as client:
        if way == "documents":
            report = client.post(DOCUMENTS, json={"documents": twice}).json()
        else:
            report = client.post(f"{BULK}?wait=true", content=lines(*twice)).json()
    assert (len(report["duplicates"]), report["duplicate_count"]) == (1_000, 1_003)
    assert (len(report["truncated"]), report["truncated_count"]) == (1_000, 1_003)


def test_metadata_of_changing_type_can_be_filtered_by_each(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "number": 1, "text": "one", "truth": True, "list": [1, "one"], "object": {"one": 1}, "nothing": None,
    }  # fmt: skip
    with idle(tmp_path, FakeEncoder()) as client:
        for id_, value in values.items():
            assert client.put(f"{DOCUMENTS}/{id_}", json={"text": id_, "metadata": {"v": value}}).status_code == 200

        def found(condition: dict[str, Any]) -> set[str]:
            answer = client.post("/v1/collections/goods/search", json={"query": "x", "k": 50, "filter": condition})
            assert answer.status_code == 200, answer.text
            return {hit["document_id"] for hit in answer.json()["hits"]}

        assert found({"v": 1}) == {"number", "list"}
        assert found({"v": {"gte": 0}}) == {"number", "list"}
        assert found({"v": "one"}) == {"text", "list"}
        assert found({"v": True}) == {"truth"}
        assert found({"v.one": 1}) == {"object"}
        assert found({"not": {"v": {"exists": True}}}) >= {"nothing"}
        # The same document with another type: the old value is gone.
        client.put(f"{DOCUMENTS}/number", json={"text": "number", "metadata": {"v": "one"}})
        assert found({"v": 1}) == {"list"}
        assert found({"v": "one"}) == {"number", "text", "list"}


@pytest.mark.parametrize("field", ["vector", "embedding", "vectors"])
def test_vectors_are_refused_and_not_taken_for_metadata(tmp_path: Path, field: str) -> None:
    with idle(tmp_path, FakeEncoder()) as client:
        vector = [0.5] * 8
        body = lines(
            {"id": "whole", "text": "x", field: vector},
            {"id": "short", "text": "x", field: vector[:3]},
            {"id": "several", "text": "x", field: [vector, vector]},
            {"id": "nan", "text": "x", field: [float("nan")] * 8},
            {"id": "word", "text": "x", field: "the mosquito"},
        )
        report = client.post(f"{BULK}?wait=true", content=body).json()
        assert (report["created"], report["failed"]) == (1, 4)
        reasons = {error["line"]: error["reason"] for error in report["errors"]}
        for line in (1, 2, 3):
            assert reasons[line].startswith(f"{field}: vectors cannot be given, documents are embedded by")
        assert "NaN is not JSON" in reasons[4]
        posted = client.post(DOCUMENTS, json={"documents": [{"id": "a", "text": "x", field: vector}]})
        assert (posted.status_code, posted.json()["error"]["code"]) == (422, "malformed_request")
        assert f"unknown key {field!r}" in posted.json()["error"]["message"]
        sent = json.dumps({"text": "x", field: vector})
        put = client.put(f"{DOCUMENTS}/a", content=sent, headers={"Content-Type": "application/json"})
        assert put.status_code == 422
