"""What BM25 counts of a passage: the title as often as the setting says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from core.passages import passage_prompt
from core.records import CollectionSettings, Document
from embedder.densemodels import only
from embedder.lexical import Analyzer
from indexer.drafting import Drafter, content_sha, passage_sha
from indexer.pipeline import Pipeline
from store import Database, Views
from tests.collections import create_for
from tests.indexer.fakes import FakeEncoder

ANALYZER = Analyzer()


def counted(weight: int, title: str, text: str) -> list[dict[str, int]]:
    """By passage, in order."""
    drafter = Drafter(CollectionSettings(language="en", title_weight=weight), FakeEncoder(), ANALYZER)
    drafted = drafter.complete(drafter.outline(Document(id="a", text=text, title=title)))
    terms = drafter.terms(drafted, drafted.prompts.keys())
    return [dict(terms[item.sha]) for item in drafted.draft.passages]


@pytest.mark.parametrize(("weight", "wolf", "lamb"), [(0, 1, 0), (1, 2, 1), (2, 3, 2), (10, 11, 10)])
def test_words_of_a_title_count_as_often_as_the_setting_says(weight: int, wolf: int, lamb: int) -> None:
    expected = {term: count for term, count in (("wolf", wolf), ("lamb", lamb), ("run", 1)) if count}
    assert counted(weight, "Wolf and lamb", "the wolf runs") == [expected]


def test_every_passage_counts_the_title_anew() -> None:
    found = counted(3, "wolf", "A lamb was here. " * 60)
    assert len(found) > 1
    assert all(terms["wolf"] == 3 for terms in found)


def test_a_title_without_text_may_count_for_nothing() -> None:
    assert counted(0, "wolf", "") == [{}]
    assert counted(3, "wolf", "") == [{"wolf": 3}]


def test_only_what_is_wanted_is_counted() -> None:
    drafter = Drafter(CollectionSettings(language="en"), FakeEncoder(), ANALYZER)
    drafted = drafter.complete(drafter.outline(Document(id="a", text="wolf")))
    assert drafter.terms(drafted, set()) == {}


def test_the_words_of_a_title_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed: list[str] = []

    def frequencies(text: str, language: str) -> Mapping[str, int]:
        analyzed.append(text)
        return original(text, language)

    original = ANALYZER.term_frequencies
    monkeypatch.setattr(ANALYZER, "term_frequencies", frequencies)
    drafter = Drafter(CollectionSettings(language="en", title_weight=3), FakeEncoder(), ANALYZER)
    drafted = drafter.complete(drafter.outline(Document(id="a", text="A lamb was here. " * 60, title="wolf")))
    shas = drafted.prompts.keys()
    assert 2 <= len(shas) < len(drafted.draft.passages), "some of them say the same"
    wanted = set(sorted(shas)[1:])
    assert drafter.terms(drafted, wanted).keys() == wanted
    assert (analyzed.count("wolf"), len(analyzed)) == (1, 1 + len(wanted)), "the title, and each prompt that is wanted"


@hypothesis.given(title=st.text("ab \u00e9", max_size=9), text=st.text("ab \u00e9", max_size=9))
def test_the_hash_of_a_passage_holds_what_its_title_counts(title: str, text: str) -> None:
    def sha(weight: int, title: str, text: str) -> bytes:
        return passage_sha(title, text, "en", CollectionSettings(title_weight=weight))

    joined = passage_prompt(title, text)
    assert (sha(2, title, text) == sha(1, title, text)) == (not title)
    assert (sha(2, title, text) == sha(3, title, text)) == (not title)
    assert sha(1, title, text) == sha(1, "", joined), "with a weight of 1 the prompt is all that counts"
    assert (sha(2, title, text) == sha(2, "", joined)) == (not title)


def test_the_hash_of_a_document_holds_the_weight() -> None:
    document = Document(id="a", text="x", title="y")
    shas = {content_sha(document, "en", CollectionSettings(title_weight=weight)) for weight in (0, 1, 2)}
    assert len(shas) == 3


def test_bm25_scores_by_the_counts(tmp_path: Path) -> None:
    """One passage is as long as the average, so its weight is idf * tf / (tf + k1)."""
    database, encoder = Database.open(tmp_path), FakeEncoder()
    scores = {}
    for weight in (1, 4):
        name, settings = f"w{weight}", CollectionSettings(language="en", title_weight=weight)
        create_for(encoder, database, name, settings)
        Pipeline(database, only(encoder), ANALYZER).add(name, [Document(id="a", text="lamb", title="wolf")])
        with Views(database).open(name) as view:
            found = view.matching({"wolf": 1.0}, 1, None)
            scores[weight] = float(found.scores[0])
    database.close()
    assert scores[4] / scores[1] == pytest.approx((4 / (4 + 1.2)) / (1 / (1 + 1.2)), rel=1e-5)


def test_title_and_metadata_are_read_once_on_the_way_in(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counter[str]()

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            counts["filterable values"] += 1
            return super().items()

    def dumps(value: Any, **options: Any) -> str:
        counts["metadata as JSON"] += value == {"price": 3}
        return original(value, **options)

    def token_spans(text: str) -> Any:
        counts["tokens of the title"] += text == "Wolf and lamb"
        return FakeEncoder.token_spans(encoder, text)

    original = json.dumps
    monkeypatch.setattr(json, "dumps", dumps)
    encoder = FakeEncoder()
    monkeypatch.setattr(encoder, "token_spans", token_spans)
    create_for(encoder, database, "c", CollectionSettings(title_weight=2))
    document = Document(id="a", title=" Wolf and lamb", text="They meet. " * 60, metadata=Watched(price=3))
    report = Pipeline(database, only(encoder), ANALYZER).add("c", [document])
    assert (report.created, report.passages > 1) == (1, True)
    assert counts == {"filterable values": 1, "metadata as JSON": 1, "tokens of the title": 1}
