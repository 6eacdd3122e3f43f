"""The bench beside other engines, with Salience alone: its rounds and figures; and what the clients ask."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

import bench.service.__main__ as service
from bench.service.driving import FEWEST_WORDS, drive, new_queries, summary
from bench.service.passages import Sample
from bench.service.servers import Salience
from embedder.kinds import DEFAULT_MODEL, model_folder

QUERIES = {f"q{n}": f"a long question about the number {n} of many" for n in range(40)} | {"short": "two words"}


def test_each_round_is_told_by_its_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(service, "WARM_SECONDS", 0.1)
    passages = {f"p{n}": f"the number {n} is one of many numbers" for n in range(40)}
    judgements = {f"q{n}": {f"p{n}": 1} for n in range(40)}
    sample = Sample(passages=passages, queries=QUERIES, judgements=judgements)
    server = Salience(tmp_path, model_folder(Path(DEFAULT_MODEL)), Path(sys.executable))
    [report] = service.measured({"salience": server}, sample, seconds=1.0, processes=2).values()
    assert report["ndcg@10"] > 0.9
    assert report["fill_seconds"] > 0
    one, two = report["processes"]["1"], report["processes"]["2"]
    assert list(one["rounds"]) == ["clients_1", "again_1", "clients_8", "again_8"]
    assert list(two["rounds"]) == ["clients_1", "clients_8"]
    for round_ in (*one["rounds"].values(), *two["rounds"].values()):
        assert 0 < round_["p50"] <= round_["p95"]
        assert round_["throughput"] > 0
        assert round_["searches"] > 1
    assert two["memory"] > one["memory"] > 100  # a model each


def test_new_queries_have_the_same_words_and_are_new() -> None:
    asked = list[str]()

    def search(text: str) -> list[str]:
        asked.append(text)
        return [text]

    found = drive(lambda: nullcontext(search), QUERIES, clients=2, seconds=0.05, shuffled=1)
    assert len(found["times"]) == len(asked) >= 40
    assert "short" not in found["answers"]
    assert {" ".join(sorted(text.split())) for text in asked} == {
        " ".join(sorted(text.split())) for name, text in QUERIES.items() if name != "short"
    }
    assert len(set(asked[:40]) - set(QUERIES.values())) >= 39
    once = drive(lambda: nullcontext(search), QUERIES, clients=3, seconds=None)
    assert once["answers"] == {name: [text] for name, text in QUERIES.items()}
    assert len(once["times"]) == len(QUERIES)
    endless = new_queries(["two words", "five words are enough here"])
    assert all(len(next(endless).split()) == FEWEST_WORDS for _ in range(3))
    with pytest.raises(ValueError, match="no query"):
        drive(lambda: nullcontext(search), {"short": "two words"}, clients=1, seconds=0.0, shuffled=1)


def test_a_rounds_turns_are_one_figure() -> None:
    turns = [[{"times": [0.01] * 10, "wall": 0.1}], [{"times": [0.02] * 9, "wall": 0.2}, {"times": [0.4], "wall": 0.4}]]
    assert summary(turns) == {"p50": 15.0, "p95": pytest.approx(381, abs=1), "throughput": 40.0, "searches": 20}


def test_what_a_search_raises_is_raised() -> None:
    def search(text: str) -> list[str]:
        raise OSError(f"500 for {text}")

    with pytest.raises(OSError, match="500 for a long question"):
        drive(lambda: nullcontext(search), QUERIES, clients=4, seconds=5.0)
