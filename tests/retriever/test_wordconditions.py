"""Required and excluded words and phrases, against a scan of every document's text."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retriever.wordconditions
from core.errors import InvalidQuery
from core.filters import parse_filter
from core.records import Document
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.lexical.sequence import WordSequence
from embedder.lexical.words import WORD_PATTERN, normalize, units
from embedder.local import LocalEncoder
from retriever.legs import Leg
from retriever.operators import read_operators
from retriever.query import Query, steer
from retriever.searcher import Searcher
from retriever.wordconditions import WordConditions
from store import Database, Views
from tests.retriever.varied import CHINESE, ENGLISH, GERMAN, varied_documents


@pytest.fixture(scope="module")
def searcher(varied: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(varied), only(encoder), Analyzer())


@pytest.fixture(scope="module")
def languages(varied: Database) -> dict[str, str]:
    with Views(varied).open("varied") as view:
        found = view.fetch(view.filter(parse_filter({"price": {"gte": 0}})))
    return {passage.document_id: passage.language for passage in found}


def slow_words(text: str, language: str) -> list[str]:
    """The words by their terms; a stop word by itself; each run of CJK characters behind another begins with a bar."""
    analyzer, found, after = Analyzer(), [], False
    for match in WORD_PATTERN.finditer(text):
        if match.lastgroup == "unspaced":
            found += (["|"] if after else []) + [unit.text for unit in units(match[0])]
        else:
            terms = analyzer.analyze(match[0], language)
            found.append(terms[0].text if terms else normalize(match[0]))
        after = match.lastgroup == "unspaced"
    return found


def slow_holds(document: Document, language: str, entry: str) -> bool:
    wanted = slow_words(entry, language)
    for text in (document.title, document.text):
        words = slow_words(text, language)
        if any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
            return True
    return False


def found_by(searcher: Searcher, conditions: WordConditions, **more: object) -> set[str]:
    query = replace(Query(text="game", k=1000, legs=(Leg.DENSE,), conditions=conditions), **more)  # type: ignore[arg-type]
    return {hit.document_id for hit in searcher.search("varied", query).hits}


ENTRIES = st.one_of(
    st.lists(st.sampled_from(ENGLISH), min_size=1, max_size=3).map(" ".join),
    st.lists(st.sampled_from(GERMAN), min_size=1, max_size=3).map(" ".join),
    st.text(alphabet=CHINESE, min_size=1, max_size=3),
    st.sampled_from(["quick,player", "the", "die", "on the", "unheard", "English", "机", "法 很", "played at"]),
)


@settings(deadline=None, max_examples=150)
@given(must=st.lists(ENTRIES, max_size=2), must_not=st.lists(ENTRIES, max_size=2), filtered=st.booleans())
def test_conditions_equal_a_scan_of_the_texts(
    searcher: Searcher, languages: dict[str, str], must: list[str], must_not: list[str], filtered: bool
) -> None:
    conditions = WordConditions(must=tuple(must[:1]), phrases=tuple(must[1:]), must_not=tuple(must_not))
    wanted = {
        document.id
        for document in varied_documents()
        if all(slow_holds(document, languages[document.id], entry) for entry in must)
        and not any(slow_holds(document, languages[document.id], entry) for entry in must_not)
        and not (filtered and document.metadata["price"] != 5)
    }
    tree = parse_filter({"price": 5}) if filtered else None
    assert found_by(searcher, conditions, filter=tree) == wanted


@settings(deadline=None)
@given(st.text(alphabet="aé b,.机器ー '", max_size=30), st.text(alphabet="aé b,机器", max_size=5))
def test_a_sequence_holds_a_phrase_where_the_lists_of_words_do(text: str, phrase: str) -> None:
    words, wanted = slow_words(text, "en"), slow_words(phrase, "en")
    slow = any(words[at : at + len(wanted)] == wanted for at in range(len(words) + 1))
    assert (WordSequence(phrase, "en") in WordSequence(text, "en")) == slow


@pytest.mark.parametrize(
    "phrase", ["\u0131\u015f\u0131k h\u0131z\u0131", "I\u015f\u0131k h\u0131z\u0131", "I\u015eIK HIZI"]
)
@pytest.mark.parametrize(
    "text",
    ["I\u015f\u0131k h\u0131z\u0131 sabittir", "bug\u00fcn \u0131\u015f\u0131k h\u0131zlar\u0131", "I\u015eIK HIZI"],
)
def test_a_turkish_phrase_stands_in_either_case(phrase: str, text: str) -> None:
    assert WordSequence(phrase, "tr") in WordSequence(text, "tr")
    assert WordSequence("ibm i\u00e7in", "tr") in WordSequence("IBM \u0130\u00c7\u0130N", "tr")
    assert WordSequence("a\u015f\u0131k h\u0131z\u0131", "tr") not in WordSequence(text, "tr")


def test_both_legs_go_by_them(searcher: Searcher) -> None:
    conditions = WordConditions(must=("quick",), must_not=("screen",))
    dense = found_by(searcher, conditions)
    assert dense
    assert found_by(searcher, conditions, legs=None) == dense
    assert found_by(searcher, conditions, legs=(Leg.SPARSE,)) <= dense


def test_a_phrase_that_would_take_too_much_reading_is_refused(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retriever.wordconditions, "MAX_READ", 5)
    with pytest.raises(InvalidQuery, match=r"'the game' may stand in [0-9]+ documents"):
        found_by(searcher, WordConditions(phrases=("the game",)))
    with pytest.raises(InvalidQuery, match="'the' may stand in"):
        found_by(searcher, WordConditions(must=("the",)))
    assert found_by(searcher, WordConditions(must=("game",)))  # a single word is in the index


def test_an_entry_without_a_word_and_too_many_are_refused() -> None:
    with pytest.raises(InvalidQuery, match=r"must: '!\?' has no word"):
        WordConditions(must=("!?",))
    with pytest.raises(InvalidQuery, match="must_not: '' has no word"):
        WordConditions(must_not=("",))
    with pytest.raises(InvalidQuery, match="at most 100"):
        WordConditions(must=("a",) * 101)
    with pytest.raises(InvalidQuery, match="1001 characters"):
        WordConditions(phrases=("a" * 1001,))


@pytest.mark.parametrize(
    ("text", "clean", "must", "must_not"),
    [
        ('+console -kids "tv show"', "console tv show", ("console", "tv show"), ("kids",)),
        ("a -b c", "a c", (), ("b",)),
        ("-b a", "a", (), ("b",)),
        ('+"tv show" -"bad thing", c', "tv show c", ("tv show",), ("bad thing",)),
        ("+play^7 x", "play^7 x", ("play",), ()),
        ('"tv show"^2 x', '"tv show"^2 x', (), ()),  # a boosted phrase is emphasised alone
        ('"tv show", x', "tv show, x", ("tv show",), ()),
        (r"say \+x and \-y", "say +x and -y", (), ()),
        (r"a \"b c\" d", r"a \"b c\" d", (), ()),
        ('C++ a-b 5"x" "" - + !-x "open', 'C++ a-b 5"x" "" - + !-x "open', (), ()),
        ("plain text, as it is", "plain text, as it is", (), ()),
        ("Haus -\u201esch\u00f6nes Auto\u201c", "Haus ", (), ("sch\u00f6nes Auto",)),
        ('Haus -\u201esch\u00f6nes Auto"', "Haus ", (), ("sch\u00f6nes Auto",)),
        ("a -\u201cb c\u201d +\u201ed e\u201d", "a d e", ("d e",), ("b c",)),
        ("a \u2212\u00ab b c \u00bb \u00bbd e\u00ab", "a d e", ("d e",), (" b c ",)),
        ("\uff0b\u732b\u3000\uff0d\u300c\u9ed2 \u732b\u300d", "\u732b\u3000", ("\u732b",), ("\u9ed2 \u732b",)),
        ("a -\uff02b c\uff02 \u300ed e\u300f", "a d e", ("d e",), ("b c",)),
        ("\u201etv show\u201c^2 x", '"tv show"^2 x', (), ()),
        ("\\\u201ea b\u201c \\\u2212c", "\u201ea b\u201c \u2212c", (), ()),
        ("x\u201ca b\u201d -\u201ea", "x\u201ca b\u201d ", (), ("\u201ea",)),
    ],
)
def test_operators(text: str, clean: str, must: tuple[str, ...], must_not: tuple[str, ...]) -> None:
    assert read_operators(text) == (clean, WordConditions(must=must, must_not=must_not))


@pytest.mark.parametrize(
    "text",
    [
        "x ^2",
        "10 ^3 m",
        'a "^2" b',
        "foo ^0.5 bar",
        "a +^2 b",
        "a -^2",
        "a +!^2 b",
        'a "^ ^3" b',
        'a -"^2"',
        'x "\\^" y',
    ],
)
def test_marks_without_a_word_are_text_as_without_operators(text: str) -> None:
    clean, conditions = read_operators(text)
    assert (clean, conditions) == (text, WordConditions())
    assert read_operators(text + " +b") == (text + " b", WordConditions(must=("b",)))


@pytest.mark.parametrize("text", ["a b^x", "a +b^x", 'a "b^x"', "a -b^99999"])
def test_a_boost_that_is_none_is_refused_as_without_operators(text: str) -> None:
    with pytest.raises(InvalidQuery, match="boost"):
        steer(read_operators(text)[0])


def test_only_exclusions_are_refused() -> None:
    with pytest.raises(InvalidQuery, match="only says what is not wanted"):
        read_operators("-a -b")


@settings(deadline=None)
@given(st.text(alphabet='ab+- "\\^2\u201e\u201c\u2212\u300c\u300d', max_size=20))
def test_any_text_is_read_without_losing_what_is_no_exclusion(text: str) -> None:
    try:
        clean, conditions = read_operators(text, boosts=False)
    except InvalidQuery:
        return
    if not conditions:
        assert clean.replace("\\+", "+") == text.replace("\\+", "+") or "\\" in text
    kept = [character for character in clean if character in "ab"]
    excluded = [character for entry in conditions.must_not for character in entry if character in "ab"]
    assert sorted(kept + excluded) == sorted(character for character in text if character in "ab")
