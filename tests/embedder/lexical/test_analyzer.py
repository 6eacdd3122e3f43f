"""Terms of documents and queries, by language."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import nDCG

from core.errors import InvalidSettings
from embedder.lexical import Analyzer, check_language
from embedder.lexical.languages import STEMMERS, LanguageRules
from embedder.lexical.stopwords import FUNCTION_WORDS, STOP_WORDS
from embedder.lexical.words import normalize, units

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
ANALYZER = Analyzer()


def terms(text: str, language: str) -> list[str]:
    return [term.text for term in ANALYZER.analyze(text, language)]


@pytest.mark.parametrize("language", ["de", "en", "tr"])
@pytest.mark.parametrize("typed", ["istanbul", "\u0130stanbul", "I\u0307stanbul"])
def test_a_capital_with_a_dot_is_an_i(language: str, typed: str) -> None:
    (word,) = ANALYZER.analyze_query(typed, [language])
    for text in ("\u0130stanbul", "istanbul", "\u0130STANBUL", "I\u0307stanbul"):
        (term,) = terms(text, language)
        assert term in word.terms, text


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("\u0131sparta", ["\u0131sparta", "Isparta", "ISPARTA"]),
        ("ISPARTA", ["\u0131sparta", "Isparta", "ISPARTA"]),
        ("I\u015eIK", ["\u0131\u015f\u0131k", "I\u015f\u0131k", "I\u015eIK"]),
        ("\u0131\u015f\u0131k", ["\u0131\u015f\u0131k", "I\u015f\u0131k", "I\u015eIK"]),
        ("K\u0131z", ["k\u0131z", "K\u0131z", "KIZ"]),
        ("I\u00c7IN", ["i\u00e7in", "I\u00e7\u0131n"]),
        ("ibm", ["IBM", "ibm"]),
        ("IBM", ["IBM", "ibm"]),
    ],
)
def test_turkish_words_are_found_in_either_case(typed: str, written: list[str]) -> None:
    (word,) = ANALYZER.analyze_query(typed, ["tr"])
    for text in written:
        (term,) = terms(text, "tr")
        assert term in word.terms, text
    assert not word.stopped


def test_every_named_stemmer_exists_and_every_stop_word_is_in_normal_form() -> None:
    assert set(STEMMERS.values()) <= set(Stemmer.algorithms())
    for code, stop_words in STOP_WORDS.items():
        assert code in STEMMERS
        assert {normalize(word) for word in stop_words} == stop_words
    for code, function_words in FUNCTION_WORDS.items():
        assert {normalize(word) for word in function_words} == function_words
        assert not function_words & STOP_WORDS[code]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The consoles are played on TVs", ["consol", "play", "tvs"]),
        ("en", "It's the dog's, don't", ["dog", "don't"]),
        ("de", "Die Häuser sind größer als daß", ["haus", "gross"]),
        ("fr", "C'est l'homme qu'il cherche", ["homm", "cherch"]),
        ("it", "dell’uomo", ["uom"]),
        ("es", "Las casas grandes", ["cas", "grand"]),
        ("ru", "Она читает книги", ["чита", "книг"]),
        ("fi", "taloissa ja autoissa", ["talo", "auto"]),
        ("nn", "Husene og bilene", ["hus", "bil"]),
        ("zh", "我想看电视 TV", ["我想", "想看", "看电", "电视", "tv"]),
        (
            "th",
            "\u0e19\u0e49\u0e33\u0e14\u0e37\u0e48\u0e21 \u0e51\u0e52 TV",
            ["\u0e19\u0e49\u0e4d\u0e32", "\u0e32\u0e14\u0e37\u0e48", "\u0e14\u0e37\u0e48\u0e21", "\u0e51\u0e52", "tv"],
        ),
        ("lo", "\u0e9a\u0ec9\u0eb2\u0e99\u0ec2", ["\u0e9a\u0ec9\u0eb2", "\u0eb2\u0e99", "\u0e99\u0ec2"]),
        ("km", "\u1795\u17d2\u1791\u17c7\u17d4", ["\u1795\u17d2\u1791\u17c7"]),
        ("my", "\u1021\u102d\u1019\u103a\u104b", ["\u1021\u102d\u1019\u103a"]),
        ("vi", "Running tiếng Việt", ["running", "tiếng", "việt"]),  # a language without rules of its own
    ],
)
def test_terms_by_language(language: str, text: str, expected: list[str]) -> None:
    assert terms(text, language) == expected


def test_terms_carry_the_span_of_the_word_as_written() -> None:
    text = "🎮 Ｐlaying \u202bשלום\u202c cafe\u0301s"
    assert [(t.text, text[t.start : t.end]) for t in ANALYZER.analyze(text, "en")] == [
        ("play", "Ｐlaying"),
        ("שלום", "שלום"),
        ("café", "cafe\u0301s"),
    ]


@given(st.text())
def test_frequencies_count_the_terms_of_analyze(text: str) -> None:
    expected: dict[str, int] = defaultdict(int)
    for term in terms(text, "en"):
        expected[term] += 1
    assert ANALYZER.term_frequencies(text, "en") == expected


@given(st.text() | st.text(alphabet="abZ09' .-_\n"))
def test_a_query_word_finds_the_document_term_at_its_own_place(text: str) -> None:
    words = ANALYZER.analyze_query(text, ["en"])
    expected = [(term.text, term.start, term.end) for term in ANALYZER.analyze(text, "en")]
    assert ANALYZER.analyze(text, "en", tuple(units(text))) == ANALYZER.analyze(text, "en")
    assert [(word.terms[0], word.start, word.end) for word in words if word.terms] == expected


def test_the_cache_answers_what_a_fresh_stemmer_answers() -> None:
    cached, fresh = LanguageRules("en"), Stemmer.Stemmer("english")
    for word in ["Playing", "playing", "play", "Playing", "relational", "generously"]:
        assert cached.term(word) == fresh.stemWord(word.lower())


def test_threads_share_an_analyzer() -> None:
    words = [f"{stem}{ending}" for stem in ("nation", "relat", "play", "comput", "formal") for ending in
             ("al", "ing", "ed", "ization", "ational", "ers", "ness", "ly")]  # fmt: skip
    words = [f"{prefix}{word}" for prefix in ("", "un", "re", "de", "inter", "over") for word in words]
    expected = [Stemmer.Stemmer("english").stemWord(word) for word in words]
    analyzer = LanguageRules("en")

    def stem_all(_: int) -> list[str | None]:
        return [analyzer.term(word) for word in words]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(stem_all, range(32)))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Spielekonsole wird an den Fernseher angeschlossen.", "de"),
        ("The console is connected to the television set.", "en"),
        ("La consola se conecta al televisor con un cable nuevo.", "es"),
        ("这台游戏机可以连接到电视上，让全家人一起玩游戏。", "zh"),
        ("Игровая приставка подключается к телевизору.", "ru"),
        ("play tv", "en"),  # too short to tell: the default
        ("6505 3.5 ^^ 12-34", "en"),
        ("", "en"),
        ("electron spin and phonon equilibrium in masers", "en"),  # taken for Latin, which has no rules of its own
    ],
)
def test_language_is_detected_or_the_default(text: str, language: str) -> None:
    assert ANALYZER.language_of(text) == language
    assert ANALYZER.language_of(text, "sv") == "sv"


def test_the_default_language_can_be_chosen() -> None:
    assert Analyzer("de").language_of("Fernseher") == "de"
    assert Analyzer("nb").language_of("Fjernsyn") == "no"
    with pytest.raises(InvalidSettings, match="no language of its own"):
        Analyzer("auto")


@pytest.mark.parametrize(
    ("code", "hint"), [("english", "'en'"), ("xx", "ISO 639-1"), ("", "'auto'"), ("EN", "ISO 639-1")]
)
def test_an_unknown_language_is_refused_with_what_is_allowed(code: str, hint: str) -> None:
    with pytest.raises(InvalidSettings, match=hint) as caught:
        check_language(code)
    assert caught.value.param == "language"
    with pytest.raises(InvalidSettings):
        ANALYZER.analyze("text", code)


def test_a_query_word_stands_for_the_terms_of_all_languages() -> None:
    words = ANALYZER.analyze_query("Die running Häuser", ["en", "de", "en"])
    assert [(word.text, word.terms) for word in words] == [
        ("die", ("die",)),  # a stop word in German only
        ("running", ("run", "running")),
        ("häuser", ("häuser", "haus")),
    ]


@pytest.mark.parametrize(("text", "languages"), [("to be or not to be", ["en"]), ("and und", ["en"]), ("🎮 ^^", [])])
def test_stop_words_of_all_languages_have_no_terms(text: str, languages: list[str]) -> None:
    words = ANALYZER.analyze_query(text, languages)
    stopped = [word.text for word in words if not word.terms]
    assert stopped == {"to be or not to be": text.split(), "and und": ["and"]}.get(text, [])
    assert [word.text for word in words if word.terms] == (["und"] if text == "and und" else [])


@pytest.mark.parametrize(
    ("text", "languages", "expected"),
    [
        ("How do I cancel", ["en"], ["how", "do", "i"]),
        ("what\u2019s the time, I'm late", ["en"], ["what's", "i'm"]),
        ("how long", ["de", "en"], ["how"]),
        ("how long", ["de"], []),
        ("WHO report", ["en"], []),  # a name
        ("WHO 2020", ["en"], []),
        ("HOW DO I CANCEL", ["en"], ["how", "do", "i"]),
    ],
)
def test_function_words_are_told_and_keep_their_terms(text: str, languages: list[str], expected: list[str]) -> None:
    words = [word for word in ANALYZER.analyze_query(text, languages) if word.function]
    assert [word.text for word in words] == expected
    assert all(word.terms and not word.stopped for word in words)


@pytest.mark.parametrize(
    ("name", "language", "floor"),
    [("scifact", "auto", 0.679), ("cranfield", "auto", 0.358), ("cmrc2018-zh", "auto", 0.98)],
)
def test_bm25_on_these_terms_reaches_the_published_baseline(name: str, language: str, floor: float) -> None:
    folder = DATA / name
    if not folder.exists():
        pytest.skip("needs ../shared/data")
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text("utf-8").splitlines()]
    rows = [line.split("\t") for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]]
    judged = [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in rows]

    assert ir_measures.calc_aggregate([nDCG @ 10], judged, bm25_run(documents, queries, language))[nDCG @ 10] >= floor


def bm25_run(
    documents: list[dict[str, str]], queries: list[dict[str, str]], language: str
) -> list[ir_measures.ScoredDoc]:
    """Robertson's BM25 with Lucene's idf, k1 1.2 and b 0.75, as plainly as it can be written."""
    postings: dict[str, dict[int, int]] = defaultdict(dict)
    lengths = np.zeros(len(documents))
    languages: Counter[str] = Counter()
    for i, document in enumerate(documents):
        text = f"{document['title']} {document['text']}"
        languages[code := ANALYZER.language_of(text, language)] += 1
        for term, count in ANALYZER.term_frequencies(text, code).items():
            postings[term][i] = count
            lengths[i] += count
    norms = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
    run = []
    for query in queries:
        scores = np.zeros(len(documents))
        for word in ANALYZER.analyze_query(query["text"], list(languages)):
            counts: Counter[int] = Counter()
            for term in word.terms:
                counts.update(postings.get(term, {}))
            if counts:
                found, tf = np.fromiter(counts.keys(), dtype=int), np.fromiter(counts.values(), dtype=float)
                idf = math.log(1 + (len(documents) - len(found) + 0.5) / (len(found) + 0.5))
                scores[found] += idf * tf / (tf + norms[found])
        best = np.argsort(-scores, kind="stable")[:10]
        run += [ir_measures.ScoredDoc(query["_id"], documents[i]["_id"], float(scores[i])) for i in best]
    return run
