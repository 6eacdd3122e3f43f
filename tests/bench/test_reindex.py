"""The bench of reindexes runs end to end on few documents; and what it is to find, it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.corpus import DATA
from bench.reindex.course import run
from bench.reindex.load import Asked, Writing
from bench.reindex.oracle import Oracle
from bench.reindex.server import Server
from bench.reindex.texts import Texts, english
from core.prompts import Prompt
from core.records import Representation
from embedder.loading import Overrides, load_encoder
from embedder.local import LocalEncoder

QUERY, TEXT = "games on TV", "a console for games"


@pytest.fixture(scope="module")
def encoders() -> tuple[LocalEncoder, LocalEncoder]:
    return load_encoder(), load_encoder(name="other", overrides=Overrides(dimension=128))


@pytest.fixture
def oracle(encoders: tuple[LocalEncoder, LocalEncoder]) -> Oracle:
    return Oracle(dict(enumerate(encoders, start=1)), {"q": QUERY})


def asked(encoder: LocalEncoder, generation: int) -> Asked:
    [query] = encoder.encode([Prompt.of(QUERY)], Representation.QUERY).vectors
    [passage] = encoder.encode([Prompt.of(TEXT)], Representation.DOCUMENT).vectors
    hit = {"document_id": "d", "passage": {"text": TEXT}, "scores": {"dense": {"raw": float(query @ passage)}}}
    return Asked(begin=0.0, end=1.0, query="q", dense=True, answer={"generation": generation, "hits": [hit]})


def test_an_answer_of_one_generation_is_none_of_another(
    oracle: Oracle, encoders: tuple[LocalEncoder, LocalEncoder]
) -> None:
    old, new = encoders
    assert oracle.mixed([asked(old, 1), asked(new, 2)]) == []
    for wrong in (asked(old, 2), asked(new, 1), asked(old, 3)):
        assert len(oracle.mixed([asked(old, 1), wrong])) == 1


def test_other_documents_than_the_generation_finds_alone_are_noticed(
    oracle: Oracle, encoders: tuple[LocalEncoder, LocalEncoder]
) -> None:
    right = asked(encoders[0], 1)
    other: dict[str, Any] = {**right.answer, "hits": [{**right.answer["hits"][0], "document_id": "x"}]}
    oracle.note_quiet("q", other)
    assert "other documents" in oracle.mixed([right])[0]
    assert oracle.mixed([replace(right, dense=False)]) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_under_load_with_a_kill(encoders: tuple[LocalEncoder, LocalEncoder], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, int]] = []

    def lost(self: Writing, original: Any = Writing.lost) -> list[str]:
        self.expected |= {"written-1000": "never sent"} if looked else {}
        looked.append((len(self.expected), len(found := original(self))))
        return list(found)

    monkeypatch.setattr(Writing, "lost", lost)
    texts = english(150)
    assert isinstance(texts, Texts)
    report = run(
        texts,
        environment={"SALIENCE_MODELS__OTHER__FOLDER": "default", "SALIENCE_MODELS__OTHER__DIMENSION": "128"},
        model="other",
        old=encoders[0],
        new=encoders[1],
        kills=1,
        share=0.35,  # long enough for whoever kills it to come in time
        seconds=1.5,
    )
    assert report["kills"] == 1
    assert (report["searches"]["failed"], report["searches"]["mixed"]) == (0, 0), report["wrong"]
    assert len(report["searches"]["answered"]) == 2
    assert all(report["searches"]["answered"].values())
    assert report["writes"]["lost"] == 0
    assert report["writes"]["lost_after_rollback"] == 1  # what was never sent
    assert report["wrong"] == ["lost after the rollback: written-1000"]
    assert report["writes"]["put"] > 0
    assert report["verified"]
    assert report["documents"] == len(texts.documents)
    assert 0 < report["ndcg@10"]["before"]["all"] <= 1


def test_moments_when_the_process_was_down(tmp_path: Path) -> None:
    server = Server(tmp_path, {})
    server.down = [(10.0, 12.0)]
    spans = [(8.0, 9.0), (9.0, 10.5), (10.5, 11.0), (11.5, 13.0), (9.0, 13.0), (12.5, 13.0)]
    assert [server.was_down(*span) for span in spans] == [False, True, True, True, True, False]
    server.killed_at = 20.0
    assert [server.was_down(18.0, 19.0), server.was_down(19.0, 21.0)] == [False, True]
