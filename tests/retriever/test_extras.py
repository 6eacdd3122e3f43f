"""Highlights, synonyms and suggestions of a small collection in two languages."""

import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from core.records import CollectionSettings, Document, SparseScoring
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.lexical.words import normalize
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.extras import Extras
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from retriever.selection import Selection
from retriever.suggestions import corrected, edits_allowed
from retriever.wordconditions import WordConditions
from store import Database, Views
from store.catalog import change_settings
from store.view import View
from store.vocabulary import Vocabularies
from tests.collections import create_for

TEXTS = {
    "tv": "A television stands in the room. We watch a film on the television every evening with friends.",
    "telly": "The telly was broken again last night. Nobody could repair it, so we went to the cinema.",
    "radio": "The wireless set plays music in the kitchen. It wakes everybody up in the morning, too.",
    "pc": "This notebook computer is fast. Its keyboard is quiet. Programmers are fond of their keyboards.",
    "haus": "Die Häuser in dieser Straße sind alt. Ein Haus wurde im letzten Jahr verkauft und renoviert.",
    "zh": "这台电视机很好。我们每天晚上都在看电视节目，真的很有意思。",
}
SPARSE = (Leg.SPARSE,)


@pytest.fixture
def database(tmp_path: Path, encoder: LocalEncoder) -> Iterator[Database]:
    database = Database.open(tmp_path)
    create_for(encoder, database, "small")
    documents = [Document(id=id_, text=text, title="The television" * (id_ == "tv")) for id_, text in TEXTS.items()]
    report = Pipeline(database, only(encoder), Analyzer()).add("small", documents)
    assert not report.failed
    yield database
    database.close()


@pytest.fixture
def searcher(database: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer())


def marked(searcher: Searcher, query: Query, document: str) -> tuple[list[str], list[str], str | None]:
    """The marked words of passage and title, and the sentence."""
    hits = searcher.search("small", replace(query, k=10, extras=Extras(highlight=True))).hits
    (hit,) = (hit for hit in hits if hit.document_id == document)
    assert hit.highlight is not None
    sentence = hit.highlight.sentence
    return (
        [hit.text[start:end] for start, end in hit.highlight.passage],
        [hit.title[start:end] for start, end in hit.highlight.title],
        None if sentence is None else hit.text[sentence[0] : sentence[1]],
    )


def test_words_are_marked_by_the_analysis_of_their_language(searcher: Searcher) -> None:
    english = marked(searcher, Query(text="televisions and films"), "tv")
    assert english == (
        ["television", "film", "television"],
        ["television"],
        "We watch a film on the television every evening with friends.",
    )
    assert marked(searcher, Query(text="haus"), "haus") == (
        ["Häuser", "Haus"], [], "Die Häuser in dieser Straße sind alt."
    )  # fmt: skip
    assert marked(searcher, Query(text="看电视"), "zh")[0] == ["电视", "看电视"]
    assert marked(searcher, Query(text="haus"), "tv") == ([], [], None)


def test_what_is_required_is_marked_and_what_is_suppressed_is_not(searcher: Searcher) -> None:
    text, controls = steer("keyboard^0 computer")
    query = Query(text=text, controls=controls, conditions=WordConditions(must=("quiet",)))
    assert marked(searcher, query, "pc")[0] == ["computer", "quiet"]
    dense = Query(text="keyboard", legs=(Leg.DENSE,))
    assert marked(searcher, dense, "pc") == (["keyboard", "keyboards"], [], "Its keyboard is quiet.")


def set_synonyms(database: Database, synonyms: dict[str, tuple[str, ...]]) -> None:
    with database.write() as session:
        change_settings(session, "small", {"synonyms": synonyms})


def test_synonyms_are_found_and_shown_in_the_ledger_as_soon_as_they_are_set(
    searcher: Searcher, database: Database
) -> None:
    query = Query(text="televisions", legs=SPARSE, explain=Explain.WORDS, extras=Extras(highlight=True))
    assert [hit.document_id for hit in searcher.search("small", query).hits] == ["tv"]
    set_synonyms(database, {"television": ("telly", "tv")})
    found = searcher.search("small", query).hits
    assert {hit.document_id for hit in found} == {"tv", "telly"}
    telly = next(hit for hit in found if hit.document_id == "telly")
    assert telly.explanation is not None
    assert telly.highlight is not None
    (leg,) = telly.explanation.ledger.details
    assert [line.description.partition(":")[0] for line in leg.details] == ["'telli' (synonym of 'televisions')"]
    assert sum(line.value for line in leg.details) == pytest.approx(telly.score, abs=1e-9)
    assert sum(word.sparse for word in telly.explanation.query_words) == pytest.approx(telly.score, abs=1e-9)
    assert [telly.text[start:end] for start, end in telly.highlight.passage] == ["telly"]
    set_synonyms(database, {})
    assert [hit.document_id for hit in searcher.search("small", query).hits] == ["tv"]


def test_a_synonym_counts_as_the_word_it_stands_for(searcher: Searcher, database: Database) -> None:
    """The same factor, and one document frequency for both: what was typed is not outranked by a rarer synonym."""
    set_synonyms(database, {"television": ("telly",)})
    alone = Query(text="television", legs=SPARSE)
    scores = {hit.document_id: hit.score for hit in searcher.search("small", alone).hits}
    text, controls = steer("television^3")
    raised = searcher.search("small", Query(text=text, controls=controls, legs=SPARSE)).hits
    assert {hit.document_id: hit.score for hit in raised} == pytest.approx({i: 3 * s for i, s in scores.items()})
    set_synonyms(database, {"telly": ("television",)})  # the other way round: the same pair, the same score
    assert {
        hit.document_id: hit.score for hit in searcher.search("small", Query(text="telly", legs=SPARSE)).hits
    } == pytest.approx(scores)


def test_synonyms_of_several_words_go_both_ways(searcher: Searcher, database: Database) -> None:
    set_synonyms(
        database, {"laptop": ("notebook computer",), "notebook computer": ("wireless",), "radio": ("wireless",)}
    )
    query = Query(text="a laptop", legs=SPARSE, explain=Explain.SCORES)
    (hit,) = searcher.search("small", query).hits
    assert hit.document_id == "pc"
    assert hit.explanation is not None
    lines = [line.description for line in hit.explanation.ledger.details[0].details]
    assert [line.partition(":")[0] for line in lines] == [
        "'notebook' (synonym of 'laptop')", "'comput' (synonym of 'laptop')"
    ]  # fmt: skip
    assert all("factor 0.5" in line for line in lines)  # the two share the word's factor
    both = searcher.search("small", Query(text="my notebook computers", legs=SPARSE)).hits
    assert {hit.document_id for hit in both} == {"pc", "radio"}
    assert [hit.document_id for hit in searcher.search("small", Query(text="notebook", legs=SPARSE)).hits] == ["pc"]


def suggested(searcher: Searcher, text: str) -> dict[str, list[str]]:
    found = searcher.search("small", Query(text=text, extras=Extras(suggest=True)))
    assert found.query.text == text  # never rewritten
    return {one.word: [meant.text for meant in one.meant] for one in found.suggestions}


def test_words_of_the_collection_are_suggested_for_mistyped_ones(searcher: Searcher) -> None:
    assert suggested(searcher, "telvision in the kitchne") == {"telvision": ["television"], "kitchne": ["kitchen"]}
    assert suggested(searcher, "progarmmers") == {"progarmmers": ["programmers"]}
    assert suggested(searcher, "Jahr renovirt, Strase") == {"renovirt": ["renoviert"], "Strase": ["straße"]}
    found = searcher.search("small", Query(text="A Telvision!", extras=Extras(suggest=True))).suggestions
    assert corrected("A Telvision!", found) == "A television!"


INFLECTED = {
    "letters": (
        "The information in this communication is about our international organization. Nobody may use it for anything "
        "else, and everybody is kindly asked to keep their copy of it in a safe place."
    ),
    "organs": "The heart is an organ. The liver is an organ, too. Doctors inform people about each organ every day.",
    "état": (
        "Les villes sont loin de la mer. Hier, l’information venait de la mairie, et le gouvernement a répondu "
        "que les écoles resteraient ouvertes pendant toute la semaine."
    ),
    "müller": (
        "Die Familie Müller wohnt seit vielen Jahren in einem kleinen Haus am Rande der Stadt, und Herr Müller "
        "arbeitet dort als Lehrer."
    ),
    "كتاب": ("قَرَأَ الطّالِبُ المَكْتَبَةَ فِي المَدْرَسَةِ كُلَّ يَوْمٍ مَعَ الأُسْتَاذِ"),
}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("informaton", "information"),  # one edit away from the word, four from its stem
        ("organizaton", "organization"),
        ("communicatoin", "communication"),
        ("internationel", "international"),
        ("gouvernemnt", "gouvernement"),
        ("Müler", "müller"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_mistakes_in_an_ending_and_in_what_has_accents(
    searcher: Searcher, database: Database, encoder: LocalEncoder, typed: str, meant: str, form: Literal["NFC", "NFD"]
) -> None:
    documents = [Document(id=id_, text=unicodedata.normalize(form, text)) for id_, text in INFLECTED.items()]
    Pipeline(database, only(encoder), Analyzer()).add("small", documents)
    assert suggested(searcher, typed) == {typed: [meant]}


def test_a_turkish_capital_is_suggested_without_a_loose_dot(
    searcher: Searcher, database: Database, encoder: LocalEncoder
) -> None:
    text = "İstanbul güzel bir şehirdir, ve bu yıl İstanbul müzeleri turistler için yeniden açıldı."
    Pipeline(database, only(encoder), Analyzer()).add("small", [Document(id="tr", text=text)])
    assert suggested(searcher, "İstnbul") == {"İstnbul": ["istanbul"]}


def test_what_is_glued_to_a_word_is_no_edit(searcher: Searcher, database: Database, encoder: LocalEncoder) -> None:
    documents = [Document(id=id_, text=INFLECTED[id_]) for id_ in ("état", "كتاب")]
    Pipeline(database, only(encoder), Analyzer()).add("small", documents)
    assert suggested(searcher, "informaton") == {"informaton": ["information"]}  # as in "l’information"
    found = suggested(searcher, "المكتبتة")  # texts have it with vowel points
    assert [normalize(word) for words in found.values() for word in words] == [normalize("المَكْتَبَةَ")]


@pytest.mark.parametrize("text", ["television", "xqzwv", "film 2042", "ab", "the", "电影", "keyboards"])
def test_nothing_is_suggested_for_words_that_are_known_or_like_none(searcher: Searcher, text: str) -> None:
    assert suggested(searcher, text) == {}


def test_a_word_that_begins_otherwise_is_another_word(
    searcher: Searcher, database: Database, encoder: LocalEncoder
) -> None:
    texts = {"pockets": "Two pockets, a name and its sugar.", "école": "L'école est près de la mer, avec l'été."}
    documents = [Document(id=id_, text=text) for id_, text in texts.items()]
    Pipeline(database, only(encoder), Analyzer()).add("small", documents)
    assert suggested(searcher, "rickets of a game, brockets or kitchne") == {"kitchne": ["kitchen"]}
    assert suggested(searcher, "opckets, pokcets") == {"opckets": ["pockets"], "pokcets": ["pockets"]}
    assert suggested(searcher, "ecole") == {"ecole": ["école"]}  # an accent is no other letter


def test_an_abbreviation_is_no_mistake(searcher: Searcher, database: Database, encoder: LocalEncoder) -> None:
    documents = [Document(id="aims", text="Aims of the sugar test.")]
    Pipeline(database, only(encoder), Analyzer()).add("small", documents)
    assert suggested(searcher, "the AMIS and the TSET of Sugra") == {"Sugra": ["sugar"]}
    assert suggested(searcher, "AMIS SUGRA") == {"AMIS": ["aims"], "SUGRA": ["sugar"]}  # all of it is in capitals


def test_of_a_long_query_only_the_first_unknown_words_are_tried(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"{first}{second}qxzw" for first in "abcdef" for second in "ghijklm"]
    tried: list[str] = []
    near = Vocabularies.near

    def counted(self: Vocabularies, view: View, word: str, edits: int) -> dict[str, int]:
        tried.append(word)
        return near(self, view, word, edits)

    monkeypatch.setattr(Vocabularies, "near", counted)
    text = " ".join([*words[:19], "telvision", "kitchne"])
    assert suggested(searcher, text) == {"telvision": ["television"]}
    assert not {"kitchne"} & set(tried)
    assert suggested(searcher, " ".join([*words[:3], *words[:3], "kitchne"])) == {"kitchne": ["kitchen"]}


def test_words_are_tried_until_the_time_is_over(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    near = Vocabularies.near

    def lingering(self: Vocabularies, view: View, word: str, edits: int) -> dict[str, int]:
        time.sleep(1.1)
        return near(self, view, word, edits)

    monkeypatch.setattr(Vocabularies, "near", lingering)
    query = Query(text="telvision kitchne", legs=SPARSE, timeout_ms=1000, extras=Extras(suggest=True))
    found = searcher.search("small", query)
    assert (found.left_out, found.suggestions) == (("suggestions",), ())


def test_equal_words_are_corrected_alike(searcher: Searcher) -> None:
    text = "Telvision, TELVISION: telvisions in the kitchne telvision"
    found = searcher.search("small", Query(text=text, extras=Extras(suggest=True))).suggestions
    assert corrected(text, found) == "television, television: television in the kitchen television"


def test_nothing_is_suggested_for_a_synonym_that_was_not_typed(searcher: Searcher, database: Database) -> None:
    set_synonyms(database, {"cinema": ("telvision set",)})
    assert suggested(searcher, "cinema") == {}


def test_suggestions_are_only_made_where_they_are_asked_for(searcher: Searcher) -> None:
    assert searcher.search("small", Query(text="telvision")).suggestions == ()
    assert [edits_allowed(word) for word in ("ab", "abc", "abcde", "abcdef", "mp3", "机器")] == [0, 1, 1, 2, 0, 0]


def test_all_of_it_together_with_a_threshold(searcher: Searcher) -> None:
    """Asking for what stands beside the hits changes none of them."""
    plain = Query(text="television in the kitchen", k=3, selection=Selection(min_scores={Leg.DENSE: 0.0}))
    beside = replace(plain, extras=Extras(highlight=True, suggest=True))
    assert [(hit.id, hit.score) for hit in searcher.search("small", plain).hits] == [
        (hit.id, hit.score) for hit in searcher.search("small", beside).hits
    ]
    assert CollectionSettings().sparse is SparseScoring.BM25


def test_a_stop_word_of_one_language_is_no_mistake_in_another(
    searcher: Searcher, database: Database, encoder: LocalEncoder
) -> None:
    """English texts are indexed without "and"; to the rules of German it is a word that no passage holds."""
    tired = Document(id="day", text="At the end of the day everybody was tired, and they went home by the last bus.")
    Pipeline(database, only(encoder), Analyzer()).add("small", [tired])
    assert suggested(searcher, "film and television") == {}
    assert suggested(searcher, "film lest television") == {"lest": ["last"]}
