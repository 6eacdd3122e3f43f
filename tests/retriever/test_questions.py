"""Questions as people type them, to short texts: found by what they are about, not by "how", "do" and "I"."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.schemas.explanations import ExplanationBody
from core.records import CollectionSettings, Document
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.extras import Extras
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.replay import replay
from retriever.searcher import Searcher
from retriever.wordconditions import WordConditions
from store import Database, Views
from store.catalog import change_settings
from tests.collections import create_for

HELP = {
    "card": "How do I get a library card? Bring a passport to the desk.",
    "renew": "Loans are extended for three weeks in the catalogue, under your name.",
    "late": "A fee of ten cents a day is due for books that come back late.",
    "lost": "Whoever damages a book replaces it or pays its price.",
    "hours": "The house is open from nine to seven, on Saturdays until two.",
    "rooms": "Study rooms for groups can be booked a week ahead.",
    "print": "Printers and scanners stand on the first floor; a page costs five cents.",
    "wifi": "Wireless internet is free; the password is on the notice board.",
    "ebooks": "Electronic books are read in the app on a phone or tablet.",
    "move": "Tell the desk when the address in the register has changed.",
    "kids": "Story time for children is on Wednesday afternoons.",
    "donate": "Gifts of used novels are welcome at the back door.",
    "hold": "Titles on loan are reserved with one click, and a mail says when they have arrived.",
    "bus": "I came by bus: what I saw of the garden, I liked.",
    "cancel": "Membership ends with a signed letter.",
    "pin": "A forgotten PIN is set again at the desk.",
    "food": "Bottles of water are allowed, lunch is not.",
    "box": "When the doors are closed, returns go into the box at the gate.",
}
QUESTIONS = {
    "how do I become a member": "card",
    "how do I keep a book longer": "renew",
    "what do I pay when I am overdue": "late",
    "what happens when I lose a book": "lost",
    "when are you open": "hours",
    "can we reserve a study room": "rooms",
    "how can I print something": "print",
    "do you have wifi": "wifi",
    "how do I read on my tablet": "ebooks",
    "I have a new address, what do I do": "move",
    "what do you have for children": "kids",
    "can I give you my old novels": "donate",
    "how do I reserve a title": "hold",
    "how do I end my membership": "cancel",
    "I forgot my PIN": "pin",
    "can I eat my lunch here": "food",
    "where do I return books when you are closed": "box",
    "how do I connect to the internet": "wifi",
    "what does a scan cost": "print",
    "who do I tell that I have moved": "move",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Iterator[Database]:
    database = Database.open(Path(tmp_path_factory.mktemp("questions")))
    create_for(encoder, database, "help", CollectionSettings(language="en"))
    report = Pipeline(database, only(encoder), Analyzer()).add(
        "help", [Document(id=id_, text=text) for id_, text in HELP.items()]
    )
    assert not report.failed
    yield database
    database.close()


@pytest.fixture
def searcher(database: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer())


def right(searcher: Searcher, query: Query) -> list[str]:
    """The questions whose first hit is the document that answers them."""
    found = {text: searcher.search("help", replace(query, text=text, k=1)).hits for text in QUESTIONS}
    return [text for text, hits in found.items() if hits and hits[0].document_id == QUESTIONS[text]]


def test_questions_find_what_answers_them(searcher: Searcher) -> None:
    assert len(right(searcher, Query(text="-"))) >= 17  # 13 with "how" and "I" looked for, 18 by the dense leg alone
    assert len(right(searcher, Query(text="-", legs=(Leg.SPARSE,)))) >= 12  # 7


def found(searcher: Searcher, query: Query) -> set[str]:
    """By the words alone."""
    return {hit.document_id for hit in searcher.search("help", replace(query, legs=(Leg.SPARSE,))).hits}


def emphasised(text: str) -> Query:
    clean, controls = steer(text)
    return Query(text=clean, controls=controls)


def test_where_nothing_else_is_said_function_words_are_searched_by(searcher: Searcher) -> None:
    assert found(searcher, Query(text="what do I")) == {"card", "bus"}
    assert found(searcher, emphasised("what do I lunch^0")) == {"card", "bus"}
    assert found(searcher, Query(text="what do I lunch")) == {"food"}


def test_a_function_word_that_is_emphasised_or_required_is_searched_by(searcher: Searcher) -> None:
    assert found(searcher, emphasised("how^3 lunch")) == {"food", "card"}
    assert found(searcher, emphasised("how^0.5 lunch")) == {"food"}
    assert found(searcher, Query(text="how lunch", conditions=WordConditions(must=("how",)))) == {"card"}
    assert found(searcher, Query(text="how lunch passport", conditions=WordConditions(phrases=("How do",)))) == {"card"}


def test_a_function_word_is_shown_as_a_stop_word_is(searcher: Searcher) -> None:
    """It has no line, no part and no mark; it counts as one of the words that were typed."""
    query = Query(text="how lunch", k=18, explain=Explain.WORDS, extras=Extras(highlight=True, suggest=True))
    result = searcher.search("help", query)
    as_stop_word = searcher.search("help", replace(query, text="the lunch"))
    for hit, (how, lunch) in ((hit, hit.explanation.query_words) for hit in result.hits if hit.explanation):
        assert (how.text, how.sparse) == ("how", 0)
        assert (lunch.sparse > 0) == (hit.document_id == "food")
        assert hit.highlight is not None
        marked = {hit.text[start:end] for start, end in hit.highlight.passage}
        assert marked == ({"lunch"} if hit.document_id == "food" else set())
    assert result.choice is not None
    assert as_stop_word.choice is not None
    assert result.choice.legs[Leg.SPARSE].prior == as_stop_word.choice.legs[Leg.SPARSE].prior
    assert not searcher.search("help", replace(query, text="whom lunch")).suggestions  # no text has "whom"


def test_conditions_are_kept_by_function_words_too(searcher: Searcher) -> None:
    query = Query(text="lunch at the desk", conditions=WordConditions(must=("how",)))
    assert {hit.document_id for hit in searcher.search("help", query).hits} == {"card"}


def test_an_explanation_of_a_question_is_replayed_to_the_same_numbers(searcher: Searcher, database: Database) -> None:
    hit = searcher.search("help", Query(text="how do I renew a passport", k=1, explain=Explain.WORDS)).hits[0]
    assert hit.explanation is not None
    saved = ExplanationBody.of(hit.explanation).model_dump(mode="json")
    again = replay(searcher, Views(database), saved)
    assert (again.agrees, again.difference, again.changed) == (True, 0, ())


def test_synonyms_of_function_words_and_with_them(searcher: Searcher, database: Database) -> None:
    def set_synonyms(synonyms: dict[str, tuple[str, ...]]) -> None:
        with database.write() as session:
            change_settings(session, "help", {"synonyms": synonyms})

    set_synonyms({"what does": ("lunch",), "whose": ("novels",), "guide": ("how lunch",), "manual": ("how do I",)})
    assert found(searcher, Query(text="what does passport")) == {"card", "food"}
    assert found(searcher, Query(text="what do passport")) == {"card"}
    assert found(searcher, Query(text="whose passport")) == {"card", "donate"}
    assert found(searcher, Query(text="guide")) == {"food"}  # the synonym, too, is more than its function words
    assert found(searcher, Query(text="manual")) == {"card", "bus"}
    set_synonyms({"how": ("novels",)})
    assert found(searcher, Query(text="how lunch")) == {"food", "donate", "card"}, "more than grammar, as it has one"
    set_synonyms({})
