"""A character alone in a query, in texts of scripts without spaces, which are indexed by pairs of characters."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.records import Document, Hit
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever import characters
from retriever.extras import Extras
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from retriever.terms import query_terms, synonym_scales
from retriever.wordconditions import WordConditions
from store import Database, Views
from store.bm25 import idf
from store.catalog import change_settings
from store.vocabulary import Vocabularies
from tests.collections import create_for
from tests.retriever.conftest import explained

TEXTS = {
    "cats": "小猫咪在沙发上睡觉。那只猫很安静。",
    "tea": "我们每天下午喝绿茶，也喝红茶。",
    "manga": "大きな猫が庭にいる。",
    "alone": "猫 und Hund: so steht es im Lehrbuch der ersten Klasse für alle Kinder.",
    "dogs": "小狗在花园里跑来跑去。",
}


@pytest.fixture
def database(tmp_path: Path, encoder: LocalEncoder) -> Iterator[Database]:
    database = Database.open(tmp_path)
    create_for(encoder, database, "small")
    documents = [Document(id=id_, text=text) for id_, text in TEXTS.items()]
    assert not Pipeline(database, only(encoder), Analyzer()).add("small", documents).failed
    yield database
    database.close()


@pytest.fixture
def searcher(database: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer())


def found(searcher: Searcher, text: str, **asked: object) -> dict[str, Hit]:
    clean, controls = steer(text)
    query = Query(text=clean, controls=controls)
    hits = searcher.search("small", replace(query, **{"legs": (Leg.SPARSE,), **asked})).hits  # type: ignore[arg-type]
    return {hit.document_id: hit for hit in hits}


def test_a_lone_character_is_found_inside_of_runs(searcher: Searcher) -> None:
    assert set(found(searcher, "猫")) == {"cats", "manga", "alone"}
    assert set(found(searcher, "茶")) == {"tea"}
    assert set(found(searcher, "水")) == set()
    assert set(found(searcher, "猫^0 茶")) == {"tea"}


def test_a_character_that_touches_a_word_is_looked_up_as_it_is(searcher: Searcher) -> None:
    assert set(found(searcher, "3猫")) == set(found(searcher, "猫x")) == {"alone"}
    assert set(found(searcher, "3 猫, x")) == {"cats", "manga", "alone"}


def test_a_letter_within_a_character_is_not_the_character(database: Database, encoder: LocalEncoder) -> None:
    thai = [Document(id="with", text="\u0e01\u0e34\u0e19"), Document(id="bare", text="\u0e01\u0e19")]
    assert not Pipeline(database, only(encoder), Analyzer()).add("small", thai).failed
    assert set(found(Searcher(Views(database), only(encoder), Analyzer()), "\u0e01")) == {"bare"}


def test_its_pairs_count_as_one_word(searcher: Searcher) -> None:
    """By one document frequency for all of them, and by the factor of the character."""
    hits = found(searcher, "猫", explain=Explain.WORDS)
    assert found(searcher, "猫^3")["manga"].score == pytest.approx(3 * hits["manga"].score)
    for hit in hits.values():
        (leg,) = explained(hit).ledger.details
        assert sum(line.value for line in leg.details) == pytest.approx(hit.score, abs=1e-9)
        words = explained(hit).query_words
        assert [word.text for word in words] == ["猫"]
        assert words[0].sparse == pytest.approx(hit.score, abs=1e-9)
    (leg,) = explained(hits["manga"]).ledger.details
    assert sorted(line.description.partition(":")[0] for line in leg.details) == ["'猫' in 'な猫'", "'猫' in '猫が'"]
    (leg,) = explained(hits["alone"]).ledger.details
    assert [line.description.partition(":")[0] for line in leg.details] == ["'猫'"]


def test_what_was_typed_as_a_pair_is_shown_as_a_pair(searcher: Searcher) -> None:
    (leg,) = explained(found(searcher, "猫 小猫", explain=Explain.WORDS)["cats"]).ledger.details
    lines = {line.description.partition(":")[0] for line in leg.details}
    assert {"'小猫'", "'猫' in '猫咪'"} <= lines


def test_a_synonym_of_one_character_is_found(searcher: Searcher, database: Database) -> None:
    with database.write() as session:
        change_settings(session, "small", {"synonyms": {"喵星人": ("猫",), "cat": ("猫",)}})
    assert set(found(searcher, "喵星人")) == {"cats", "manga", "alone"}
    hits = found(searcher, "cat", explain=Explain.WORDS)
    assert set(hits) == {"cats", "manga", "alone"}
    (leg,) = explained(hits["manga"]).ledger.details
    assert {line.description.partition(":")[0] for line in leg.details} == {
        "'猫' in 'な猫' (synonym of 'cat')", "'猫' in '猫が' (synonym of 'cat')"
    }  # fmt: skip


def marked(hit: Hit) -> tuple[list[str], str | None]:
    assert hit.highlight is not None
    sentence = hit.highlight.sentence
    spans = [hit.text[start:end] for start, end in hit.highlight.passage]
    return spans, None if sentence is None else hit.text[slice(*sentence)]


def test_the_character_is_marked_not_its_pairs(searcher: Searcher) -> None:
    beside = Extras(highlight=True)
    hits = found(searcher, "猫", extras=beside)
    assert marked(hits["manga"]) == (["猫"], "大きな猫が庭にいる。")
    assert marked(hits["cats"])[0] == ["猫", "猫"]
    assert marked(hits["alone"])[0] == ["猫"]
    assert marked(found(searcher, "猫", extras=beside, legs=(Leg.DENSE,))["cats"])[0] == ["猫", "猫"]
    assert marked(found(searcher, "小猫 猫", extras=beside)["cats"])[0] == ["小猫", "猫"]
    assert marked(found(searcher, "3猫 沙发", extras=beside)["cats"])[0] == ["沙发"]  # its pairs are not looked up
    assert marked(found(searcher, "3猫", extras=beside)["alone"])[0] == ["猫"]
    required = found(searcher, "沙发", extras=beside, conditions=WordConditions(must=("猫",)))
    assert marked(required["cats"]) == (["猫", "沙发", "猫"], "小猫咪在沙发上睡觉。")


def test_pairs_and_characters_are_bounded(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "MAX_PAIRS", 1)
    assert set(found(searcher, "猫")) == {"manga", "alone"}  # of pairs in equally many passages, the first by code
    monkeypatch.setattr(characters, "MAX_CHARACTERS", 1)
    assert set(found(searcher, "茶 猫")) == {"tea", "alone"}


def test_all_pairs_have_the_idf_of_the_character(database: Database) -> None:
    with Views(database).open("small") as view:
        terms = characters.with_pairs(view, query_terms("猫", (), view.languages, Analyzer()), Vocabularies())
        statistics = view.term_statistics(terms.terms)
        pairs = ("猫", "猫が", "猫咪", "猫很", "な猫", "只猫", "小猫")
        assert sorted(terms.terms) == sorted(pairs)
        assert set(statistics.df.values()) == {1}
        weighed = synonym_scales(terms, statistics) * [statistics.idf[term] for term in terms.terms]
        assert weighed == pytest.approx([idf(statistics.passages, statistics.passages)] * len(pairs))
