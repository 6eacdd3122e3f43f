"""Controls of documents over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

DOCUMENTS = "/v1/collections/goods/documents"
TEXT = "A lamp for the desk. Subscribe to our newsletter!"
LEFT_OUT = {"text": "Subscribe to our newsletter!", "factor": 0}
STORED = [{"start": 21, "length": 28, "factor": 0.0}]


def test_they_come_in_by_every_door_and_are_shown(client: TestClient) -> None:
    body = {"text": TEXT, "controls": [LEFT_OUT]}
    assert client.put(f"{DOCUMENTS}/put", json=body).status_code == 200
    assert client.post(DOCUMENTS, json={"documents": [{"id": "posted", **body}]}).json()["created"] == 1
    line = json.dumps({"id": "bulk", "text": TEXT, "controls": STORED})
    report = client.post(f"{DOCUMENTS}:bulk?wait=true", content=line).json()
    assert (report["created"], report["errors"]) == (1, [])
    for id_ in ("put", "posted", "bulk"):
        found = client.get(f"{DOCUMENTS}/{id_}").json()
        assert (found["controls"], found["metadata"]) == (STORED, {})
    listed = {one["id"]: one["controls"] for one in client.get(DOCUMENTS).json()["documents"]}
    assert listed == {"put": STORED, "posted": STORED, "bulk": STORED, "console": [], "tv": [], "radio": []}
    search = {"query": "newsletter", "legs": ["sparse"], "k": 10}
    assert client.post("/v1/collections/goods/search", json=search).json()["hits"] == []


def test_what_is_shown_can_be_put_back(client: TestClient) -> None:
    client.put(f"{DOCUMENTS}/a", json={"text": TEXT, "controls": [LEFT_OUT]})
    shown = client.get(f"{DOCUMENTS}/a").json()
    kept = {name: shown[name] for name in ("text", "title", "metadata", "controls")}
    assert client.put(f"{DOCUMENTS}/a", json=kept).json()["unchanged"] == 1
    plain = client.put(f"{DOCUMENTS}/a", json={**kept, "controls": []}).json()
    assert (plain["replaced"], plain["passages"]) == (1, 1)


@pytest.mark.parametrize(
    ("controls", "status", "says"),
    [
        ([{"start": 40, "length": 10, "factor": 0}], 400, "outside the text, which has 49 characters"),
        ([{"start": 0, "length": 4, "factor": -1}], 400, "from 0 to 1000"),
        ([{"start": 0, "length": 4, "factor": 0, "text": "lamp"}], 400, "start, length and factor, or of text"),
        ([{"text": "lantern", "factor": 0}], 400, "does not occur"),
        ([{"start": 0, "length": 1, "factor": 1}] * 1001, 400, "more than 1000"),
        ([{"start": 0, "length": 4, "factor": "0"}], 422, "factor"),
        ([{"start": 0, "length": 4, "factr": 0}], 422, "factr"),
    ],
)
def test_a_fault_is_said(client: TestClient, controls: list[Any], status: int, says: str) -> None:
    answer = client.put(f"{DOCUMENTS}/a", json={"text": TEXT, "controls": controls})
    error = answer.json()["error"]
    assert (answer.status_code, says in error["message"]) == (status, True), error
    if status == 400:
        assert (error["code"], error["param"]) == ("invalid_control", "controls")
        report = client.post(DOCUMENTS, json={"documents": [{"id": "a", "text": TEXT, "controls": controls}]}).json()
        assert (report["failed"], report["errors"][0]["code"]) == (1, "invalid_control")
    assert client.get(f"{DOCUMENTS}/a").status_code == 404


def test_a_text_that_is_left_out_as_a_whole_needs_a_title(client: TestClient) -> None:
    body = {"text": "Subscribe to our newsletter!", "controls": [LEFT_OUT]}
    answer = client.put(f"{DOCUMENTS}/a", json=body)
    assert (answer.status_code, "nothing is left to find it by" in answer.json()["error"]["message"]) == (400, True)
    assert client.put(f"{DOCUMENTS}/a", json={**body, "title": "Lamps"}).json()["created"] == 1
    assert client.get(f"{DOCUMENTS}/a").json()["passages"] == [{"start": 0, "end": 0}]


def test_add_takes_them_from_files(salience: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    lines = [
        {"id": "lamp", "text": TEXT, "controls": [LEFT_OUT]},
        {"id": "desk", "text": "A desk.", "controls": [LEFT_OUT]},
        {"id": "game", "text": "A game of skill.", "controls": "keyboard"},
    ]
    file = tmp_path / "goods.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    code, _, err = salience("add", str(file), "-c", "goods")
    assert (code, "does not occur in the document's" in err, "line 2" in err) == (1, True, True)
    assert salience("search", "newsletter", "-c", "goods", "--leg", "sparse", "--json")[1].count('"document_id"') == 0
    assert '"lamp"' in salience("search", "lamp", "-c", "goods", "--leg", "sparse", "--json")[1]
    assert '"keyboard"' in salience("search", "game of skill", "-c", "goods", "--json")[1]
