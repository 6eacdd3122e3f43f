"""Query words and their terms across languages."""

from pathlib import Path

import numpy as np
import pytest

from core.prompts import TextControl
from embedder.lexical import Analyzer
from retriever.legs import Wording
from retriever.terms import query_terms, synonym_scales
from store import Database, TermStatistics, Views
from store.bm25 import idf
from tests.store.library import Item, create, put

ANALYZER = Analyzer()


def test_a_word_that_comes_twice_counts_twice_and_by_its_own_factor() -> None:
    control = TextControl(start=5, length=4, factor=3)
    terms = query_terms("wolf wolf rain", [control], ["en"], ANALYZER)
    assert dict(zip(terms.terms, terms.factors, strict=True)) == {"wolf": 4.0, "rain": 1.0}


def test_a_word_stands_for_its_term_in_every_language() -> None:
    terms = query_terms("running", [], ["en", "de"], ANALYZER)
    assert terms.terms == ("run", "running")


def test_terms_of_one_word_are_weighed_as_one() -> None:
    terms = query_terms("running", [], ["en", "de"], ANALYZER)
    df = {"run": 90, "running": 10}
    statistics = TermStatistics(
        passages=1000, average_length=10.0, df=df, idf={term: idf(1000, n) for term, n in df.items()}
    )
    scaled = synonym_scales(terms, statistics) * np.array([statistics.idf[term] for term in terms.terms])
    assert scaled == pytest.approx([idf(1000, 100)] * 2)


def test_in_one_language_nothing_is_scaled() -> None:
    terms = query_terms("running wolves", [], ["en"], ANALYZER)
    df = {"run": 90, "wolv": 3}
    assert set(terms.terms) == set(df)
    statistics = TermStatistics(
        passages=1000, average_length=10.0, df=df, idf={term: idf(1000, n) for term, n in df.items()}
    )
    assert (synonym_scales(terms, statistics) == 1).all()
    unknown = TermStatistics(passages=0, average_length=0.0, df=dict.fromkeys(df, 0), idf=dict.fromkeys(df, 0.0))
    assert (synonym_scales(terms, unknown) == 1).all()


def test_words_that_no_passage_has_are_not_known(tmp_path: Path) -> None:
    """A word counts once, whatever its terms, and a suppressed one not at all; a stop word is one of the words."""
    database = Database.open(tmp_path / "data")
    collection = create(database)
    put(database, collection, Item(id="a", text="whale sea"), Item(id="b", text="ship"))
    with Views(database).open("books") as view:

        def wording(text: str, *controls: TextControl) -> Wording | None:
            return query_terms(text, controls, view.languages, Analyzer()).wording(view)

        assert wording("whale ship") == Wording(words=2, known=1.0)
        assert wording("the whale and a bicycle") == Wording(words=5, known=0.5)
        assert wording("how whale and bicycle") == Wording(words=4, known=0.5)  # a function word counts as a stop word
        assert wording("Fahrrad bicycle") == Wording(words=2, known=0.0)
        assert wording("whale bicycle", TextControl(start=6, length=7, factor=0)) == Wording(words=1, known=1.0)
        assert wording("the and") is None
        assert wording("whale \u96fb\u8996") == Wording(
            words=None, known=0.5
        )  # one Chinese word, or two, or half of one
        assert wording("\u0e27\u0e32\u0e2c") == Wording(
            words=None, known=0.0
        )  # a Thai sentence would look like one word, too
        put(database, collection, Item(id="c", text="wal see", language="de"))
    with Views(database).open("books") as view:
        assert view.languages == ("de", "en")
        assert wording("the whale and a bicycle") == Wording(words=5, known=0.5)  # German texts have no "the" to stop
        assert wording("die See") == Wording(words=2, known=1.0)
    database.close()


@pytest.mark.parametrize("factor", [0.0, -1.0, -10.0])
def test_a_word_of_zero_or_less_is_not_looked_up(factor: float) -> None:
    terms = query_terms("wolf rain", [TextControl(start=0, length=4, factor=factor)], ["en"], ANALYZER)
    assert dict(zip(terms.terms, terms.factors, strict=True)) == {"wolf": 0.0, "rain": 1.0}
    assert not terms.silent


def test_function_words_are_looked_up_where_nothing_else_is() -> None:
    def looked_up(text: str, *controls: TextControl, languages: tuple[str, ...] = ("en",)) -> tuple[str, ...]:
        return query_terms(text, controls, languages, ANALYZER).terms

    assert looked_up("how do I cancel") == ("cancel",)
    assert looked_up("the who") == ("who",)
    assert looked_up("who am I") == ("who", "am", "i")
    assert looked_up("the who", languages=("de", "en")) == ("the", "who")  # to German alone "the" is a word
    assert looked_up("who is this wolf", languages=("de", "en")) == ("is", "this", "wolf")
    assert looked_up("how wolf", TextControl(start=0, length=3, factor=2)) == ("how", "wolf")
    assert looked_up("how wolf", TextControl(start=4, length=4, factor=0)) == ("how", "wolf")
