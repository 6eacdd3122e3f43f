"""Reasons through the doors: sentences, contrasts, advice, other methods, and replaying what was saved."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app import answers
from tests.app.answers import SEARCH, error_of

Salience = Callable[..., tuple[int, str, str]]
EXPLAIN, REPLAY = "/v1/collections/goods/explain", "/v1/replay"
QUERY = "I want to play games on my TV"


def ask(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    return answers.ask(client, path, query=QUERY, **body)


def refused(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, json={"query": QUERY, **body})
    assert response.status_code in (400, 404, 422), response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def test_a_search_says_why_each_hit_is_above_the_next(client: TestClient) -> None:
    hits = ask(client, SEARCH, explain="contrast")["hits"]
    for upper, lower in pairwise(hits):
        contrast = upper["explanation"]["contrast"]
        assert contrast["other"] == lower["id"]
        assert math.isclose(contrast["ledger"]["value"], upper["score"] - lower["score"], abs_tol=1e-9)
        swap = contrast["swap"]
        if swap is not None:
            ids = [hit["id"] for hit in client.post(SEARCH, json={"query": swap["query"]}).json()["hits"]]
            assert ids.index(lower["id"]) + 1 == swap["rank_after"] < swap["upper_rank_after"]
            assert ids.index(upper["id"]) + 1 == swap["upper_rank_after"]
    assert hits[-1]["explanation"]["contrast"] is None


def test_sentences_come_with_words_and_legs(client: TestClient) -> None:
    [radio] = [h for h in ask(client, SEARCH, explain="words")["hits"] if h["document_id"] == "radio"]
    sentences = radio["explanation"]["sentences"]
    assert [s["text"] for s in sentences] == ["A radio for the kitchen.", "It wakes you up, too."]
    assert set(sentences[0]["legs"]) == {"dense", "sparse"}
    words = radio["explanation"]["words"]
    assert math.isclose(math.fsum(s["share"] for s in sentences), math.fsum(w["share"] for w in words), abs_tol=1e-9)


def test_advice_can_be_followed_as_it_is(client: TestClient) -> None:
    hits = ask(client, SEARCH)["hits"]
    [hit] = ask(client, EXPLAIN, id=hits[-1]["id"], advise=True)["hits"]
    for advice in hit["explanation"]["advice"]:
        ids = [other["id"] for other in client.post(SEARCH, json={"query": advice["query"]}).json()["hits"]]
        assert ids.index(hit["id"]) + 1 == advice["rank_after"] < advice["rank_before"] == len(hits)


@pytest.mark.parametrize("method", ["atman", "integrated_gradients"])
def test_units_by_another_method(client: TestClient, method: str) -> None:
    best = ask(client, SEARCH)["hits"][0]
    [hit] = ask(client, EXPLAIN, id=best["id"], method=method, granularity="word")["hits"]
    units = hit["explanation"]["units"]
    assert "".join(best["passage"]["text"].split()) == "".join(unit["text"] for unit in units)
    assert max(units, key=lambda unit: unit["effect"])["text"].strip(".") in ("games", "gaming", "play", "TV")
    assert hit["explanation"]["provenance"]["units"]["method"] == method
    assert client.post(REPLAY, json={"explanation": hit["explanation"]}).json()["agrees"]


def test_what_was_saved_is_replayed_until_something_changes(client: TestClient) -> None:
    body = {"query": "play^3 on my TV", "filter": "price < 400", "fusion": "rrf", "explain": "words"}
    explanation = client.post(SEARCH, json=body).json()["hits"][0]["explanation"]
    answer = client.post(REPLAY, json={"explanation": explanation}).json()
    assert (answer["agrees"], answer["difference"], answer["changed"]) == (True, 0.0, [])
    added = client.post("/v1/collections/goods/documents", json={"documents": [{"id": "x", "text": "Play a TV game"}]})
    assert added.status_code == 200
    answer = client.post(REPLAY, json={"explanation": explanation}).json()
    assert answer["changed"] == ["collection"]
    assert client.delete("/v1/collections/goods/documents/console").status_code == 204
    answer = client.post(REPLAY, json={"explanation": explanation}).json()
    assert (answer["agrees"], answer["changed"], answer["score_now"]) == (False, ["document"], None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"method": "gradient_x_input"}, "method"),
        ({"granularity": "word"}, "granularity"),
        ({"method": "atman", "granularity": "custom"}, "granularity"),
        ({"method": "atman", "control_factor": 1}, "control_factor"),
        ({"control_factor": 0.5}, "control_factor"),
        ({"method": "integrated_gradients", "control_factor": 0.5}, "control_factor"),
        ({"above": 10**9}, "above"),
        ({"above": 2**70}, "above"),
        ({"above": "nobody"}, "above"),
        ({"above": 1.5}, "above"),
        ({"above": ""}, "above"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused_with_their_param(
    client: TestClient, body: dict[str, Any], param: str
) -> None:
    best = ask(client, SEARCH)["hits"][0]
    assert refused(client, EXPLAIN, id=best["id"], **body)["param"].endswith(param)


@pytest.mark.parametrize(
    ("explanation", "status", "code", "param"),
    [
        ({}, 400, "invalid_input", "explanation"),
        ({"provenance": 3, "ledger": []}, 400, "invalid_input", "explanation"),
        ({"provenance": {}, "ledger": {}}, 400, "invalid_input", "provenance"),
        (None, 422, "malformed_request", "explanation"),
    ],
)
def test_what_is_no_explanation_is_not_replayed(
    client: TestClient, explanation: Any, status: int, code: str, param: str
) -> None:
    error = error_of(client.post(REPLAY, json={"explanation": explanation}), status)
    assert (error["code"], error["param"]) == (code, param)


def test_a_hit_that_was_deleted_meanwhile_is_not_explained(client: TestClient) -> None:
    first, second, *_ = ask(client, SEARCH)["hits"]
    client.delete(f"/v1/collections/goods/documents/{second['document_id']}")
    assert refused(client, EXPLAIN, id=second["id"])["code"] == "hit_not_found"
    assert refused(client, EXPLAIN, id=first["id"], above=second["id"])["code"] == "hit_not_found"


@pytest.fixture
def things(salience: Salience, tmp_path: Path) -> Salience:
    file = tmp_path / "things.csv"
    file.write_text(
        "id,text\n"
        'console,"A gaming console: play games on your TV with friends."\n'
        "tv,A TV with a bright screen for films. It has a stand.\n"
        "radio,A radio for the kitchen. It wakes you up.\n"
    )
    assert salience("add", str(file))[0] == 0
    return salience


def test_the_command_line_contrasts_and_advises(things: Salience) -> None:
    hits = json.loads(things("search", QUERY, "--json")[1])["hits"]
    first, second = hits[0]["id"], hits[1]["id"]
    code, out, _ = things("explain", QUERY, hits[0]["document_id"], "--above", f"#{second}", "--advise")
    assert code == 0
    assert f"Why it is above #{second}:" in out
    assert "of the query:" in out
    assert f"This puts #{second} above:" in out
    assert re.search(rf"^  #{second} from rank 2 to \d, #{first} from 1 to \d(: both fall)?$", out, flags=re.MULTILINE)
    code, out, _ = things("explain", QUERY, f"#{hits[-1]['id']}", "--method", "atman", "--granularity", "sentence")
    assert code == 0
    assert "part by part, by atman:" in out
    assert "How far the score falls without a sentence:" in out
    code, _, err = things("explain", QUERY, f"#{second}", "--above", f"#{first}")
    assert code == 1
    assert f"ask why {first} is above {second}" in err


def test_hits_are_shown_with_their_rank_in_the_whole_list(things: Salience) -> None:
    names = [hit["document_id"] for hit in json.loads(things("search", QUERY, "--json")[1])["hits"]]
    assert len(names) == 3
    first = json.loads(things("search", QUERY, "-k", "1", "--json")[1])
    for options in (["--offset", "1"], ["--cursor", first["next"]]):
        shown = things("search", QUERY, *options)[1]
        assert re.findall(r"(?m)^ (\d)  [\d.]+  (\w+)", shown) == [("2", names[1]), ("3", names[2])]
    for rank, name in enumerate(names, 1):
        assert re.findall(r"(?m)^ (\d)  [\d.]+  (\w+)", things("explain", QUERY, name)[1]) == [(str(rank), name)]


def test_the_command_line_replays(things: Salience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "why.json"
    file.write_text(things("search", QUERY, "--json", "--explain", "contrast")[1])
    code, out, _ = things("replay", str(file))
    assert code == 0
    assert len(out.splitlines()) == 3
    for line in out.splitlines():
        assert float(line.partition(": holds, largest difference ")[2]) < 1e-5
    things("delete", "console")
    code, out, _ = things("replay", str(file), "--json")
    assert code == 1
    answers = {answer["id"]: answer for answer in map(json.loads, out.splitlines())}
    assert any(answer["changed"] == ["document"] for answer in answers.values())
    file.write_text("{")
    assert things("replay", str(file))[0] == 1
    file.write_text("{}")
    code, _, err = things("replay", str(file))
    assert code == 1
    assert "holds no explanation" in err
