"""Controls of documents: what a record says of parts of its text, and what becomes of that in drafts and terms."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from core.errors import InvalidControl, InvalidDocument
from core.passages import kept_text, passage_controls, text_offset
from core.prompts import TextControl, TextItem
from core.records import CollectionSettings, Document
from embedder.factors import character_factors
from embedder.lexical import Analyzer
from indexer.controls import MAX_CONTROLS, resolved_controls
from indexer.drafting import Drafter, content_sha, passage_sha
from indexer.fields import located_documents, to_document
from indexer.recheck import recheck
from indexer.records import Origin, Record, RecordError
from store.jobs.payload import QueuedDocument, pack, unpack
from store.terms import FREQUENCY_STEP
from tests.indexer.fakes import FakeEncoder

ANALYZER = Analyzer()
TEXT = "A radio for the kitchen. Subscribe now! It wakes you up, too. Subscribe now!"
PROMPTED = CollectionSettings(language="en", passage_tokens=12, overlap_tokens=3)


def control(start: int, length: int, factor: float) -> TextControl:
    return TextControl(start=start, length=length, factor=factor)


@st.composite
def controlled(draw: st.DrawFn) -> tuple[str, tuple[TextControl, ...]]:
    text = draw(st.text(alphabet="ab c.\u00e9\U0001f600", min_size=1, max_size=120))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text) - 1))
        length = draw(st.integers(1, len(text) - start))
        if text[start : start + length].strip():
            found.append(control(start, length, draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 5.0]))))
    return text, tuple(sorted(found, key=lambda one: one.start))


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_text_means_each_of_its_occurrences() -> None:
    said = [{"text": "Subscribe now!", "factor": 0}, {"start": 2, "length": 5, "factor": 3}]
    first = TEXT.index("Sub")
    assert resolved_controls(said, TEXT) == (control(2, 5, 3), control(first, 14, 0), control(62, 14, 0))
    assert TEXT[62:] == "Subscribe now!"
    assert resolved_controls([{"text": "aa", "factor": 2}], "aaaaa") == (control(0, 2, 2), control(2, 2, 2))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"start": 0, "length": 3, "factor": 0}, "must be a list"),
        ([{"start": 0, "length": 3}], r"controls\[0\]: must be an object of start, length and factor, or of text"),
        ([{"start": 0, "length": 3, "text": "A", "factor": 0}], "must be an object of"),
        ([{"start": 0, "length": 3, "factor": 0, "token_overlap": "complete"}], "must be an object of"),
        ([{"start": 0, "length": 3, "factor": 0}, "radio"], r"controls\[1\]: must be an object"),
        ([{"start": 0, "length": 3, "factor": -1}], "from 0 to 1000; .*only queries go below"),
        ([{"start": 0, "length": 3, "factor": 1001}], "factor 1001: must be a number from 0 to 1000"),
        ([{"start": 0, "length": 3, "factor": float("nan")}], "factor nan: must be a number"),
        ([{"start": 0, "length": 3, "factor": 10**400}], "factor 1000+: must be a number from 0 to 1000"),
        ([{"start": 0, "length": 3, "factor": True}], "factor True: must be a number"),
        ([{"start": 0, "length": 3, "factor": "0"}], "factor '0': must be a number"),
        ([{"start": 0.0, "length": 3, "factor": 0}], "must be whole numbers"),
        ([{"start": -1, "length": 3, "factor": 0}], "start must be 0 or more"),
        ([{"start": 0, "length": 0, "factor": 0}], "length 1 or more"),
        (
            [{"start": 70, "length": 7, "factor": 0}],
            "length 7: it ends outside the text, which has 76 characters",
        ),
        ([{"start": 76, "length": 1, "factor": 0}], "outside the text"),
        ([{"start": 1, "length": 1, "factor": 0}], "covers white space only"),
        ([{"text": "subscribe now!", "factor": 0}], "does not occur .* to the letter"),
        ([{"text": " ", "factor": 0}], "must be a text with a word in it"),
        ([{"text": 5, "factor": 0}], "must be a text with a word in it"),
        (
            [{"text": "radio", "factor": 100}, {"start": 0, "length": 9, "factor": 100}],
            "multiply to 10000: at most 1000",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(said: Any, reason: str) -> None:
    with pytest.raises(InvalidControl, match=reason) as caught:
        to_document({"id": "a", "text": TEXT, "controls": said})
    assert caught.value.param == "controls"


def test_there_are_no_more_than_a_thousand() -> None:
    each = [{"start": 0, "length": 1, "factor": 1}] * MAX_CONTROLS
    assert len(resolved_controls(each, "a")) == MAX_CONTROLS
    with pytest.raises(InvalidControl, match="more than 1000"):
        resolved_controls([*each, each[0]], "a")
    with pytest.raises(InvalidControl, match="more than 1000 of them, occurrences of texts counted"):
        resolved_controls([{"text": "a", "factor": 0}], "a" * (MAX_CONTROLS + 1))


@pytest.mark.parametrize("value", ["WASD", 3, None, ["keys", "mouse"], {"jump": "space"}, [{"jump": "space"}]])
def test_other_things_of_that_name_are_metadata_as_before(value: Any) -> None:
    document = to_document({"id": "a", "text": "a game", "controls": value})
    assert (document.metadata, document.controls) == ({"controls": value}, ())


def test_a_record_with_broken_controls_costs_itself() -> None:
    said = [[{"text": "b", "factor": 0}], [{"text": "a", "factor": 0}], []]
    records = [
        Record(fields={"id": str(i), "text": "a c", "controls": one}, origin=Origin(path="x", line=i))
        for i, one in enumerate(said)
    ]
    (_, failed), (_, first), (_, second) = located_documents(records)
    assert isinstance(failed, RecordError)
    assert (failed.code, failed.id, "does not occur" in failed.reason) == ("invalid_control", "0", True)
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.controls, second.controls, second.metadata) == ((control(0, 1, 0),), (), {})


def test_the_id_of_a_document_without_one_is_that_of_its_content() -> None:
    plain, steered = ({"text": "a b"}, {"text": "a b", "controls": [{"text": "a", "factor": 0}]})
    assert to_document(plain).id == to_document(steered).id, "given again with other controls, it is replaced"


# --- what is drafted --------------------------------------------------------------------------------------------------


def drafter(settings: CollectionSettings = PROMPTED) -> Drafter:
    return Drafter(settings, FakeEncoder(), ANALYZER)


@hypothesis.given(controlled(), st.data())
def test_a_passage_has_its_part_of_the_controls(
    given: tuple[str, tuple[TextControl, ...]], data: st.DataObject
) -> None:
    """Character by character, as the whole document's."""
    text, controls = given
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    part = text[start:end]
    own = passage_controls(controls, start, part)
    TextItem(text=part, controls=own)  # none lies outside
    everything = character_factors(text, controls)[start:end]
    visible = np.array([not character.isspace() for character in part], dtype=bool)
    np.testing.assert_allclose(character_factors(part, own)[visible], everything[visible])
    said = kept_text(part, own)
    kept = [at for start, text in zip(said.starts, said.parts, strict=True) for at in range(start, start + len(text))]
    shown = said.origin(np.array([(at, at + 1) for at in kept], dtype=np.int64).reshape(-1, 2)).tolist()
    assert "".join(part[slice(*span)] for span in shown) == "".join(said.parts)
    assert said.text == " ".join(said.parts)
    assert [at for at, _ in shown] == np.flatnonzero(character_factors(part, own)).tolist()
    factors = character_factors(said.text, said.controls)
    for start, text in zip(said.starts, said.parts, strict=True):
        at = int(said.origin(np.array([[start, start + 1]]))[0, 0])
        seen = np.array([not character.isspace() for character in text], dtype=bool)
        np.testing.assert_allclose(
            factors[start : start + len(text)][seen], character_factors(part, own)[at : at + len(text)][seen]
        )


@hypothesis.given(controlled(), st.sampled_from(["", "ab title"]), st.integers(0, 3))
@hypothesis.settings(deadline=None)
def test_terms_count_by_their_factors(given: tuple[str, tuple[TextControl, ...]], title: str, weight: int) -> None:
    """As often as the factors of their occurrences say; a word of the title as often as it counts."""
    text, controls = given
    document = Document(id="a", text=text, title=title, controls=controls)
    writer = drafter(CollectionSettings(language="de", title_weight=weight, whole_documents=True))
    hypothesis.assume(title or kept_text(text, controls).text.strip())
    drafted = writer.complete(writer.outline(document))
    draft = drafted.draft
    field = character_factors(text, controls)
    text = "".join(character if factor else " " for character, factor in zip(text, field, strict=True))
    expected: dict[str, float] = {}
    for term in ANALYZER.analyze(title, "de"):
        expected[term.text] = expected.get(term.text, 0.0) + weight
    for term in ANALYZER.analyze(text, "de"):
        expected[term.text] = expected.get(term.text, 0.0) + float(field[term.start : term.end].mean())
    found = writer.terms(drafted, drafted.prompts.keys())
    [terms] = found.values()
    for word in {*terms, *expected}:
        assert abs(terms.get(word, 0.0) - expected.get(word, 0.0)) <= FREQUENCY_STEP / 2 + 1e-9
        assert terms.get(word, 1.0) > 0
    assert all(count % FREQUENCY_STEP == 0 for count in terms.values())
    assert recheck(
        CollectionSettings(language="de", title_weight=weight, whole_documents=True),
        document,
        draft.language,
        draft.content_sha,
        [(item.passage, item.sha) for item in draft.passages],
    ) is None  # fmt: skip


def test_without_controls_every_hash_is_as_it_was() -> None:
    """By the recipe of before: what is stored is not embedded anew."""

    def sha(*parts: str) -> bytes:
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()

    settings = CollectionSettings(title_weight=2)
    document = Document(id="a", text="wolf", title="lamb")
    assert content_sha(document, "en", settings) == sha("en", "lamb", "wolf", "[null, 32, false]", "title_weight 2")
    assert passage_sha("lamb", "wolf", "en", settings) == sha("en", "lamb wolf", "title_weight 2", "lamb")
    assert pack([QueuedDocument(document=document)]) == b'[["a","lamb","wolf",{},null,null]]'


def test_only_the_passages_that_are_touched_have_other_hashes() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(12))
    plain = drafter().complete(drafter().outline(Document(id="a", text=text))).draft
    assert len(plain.passages) > 3
    at = text.index("number 6")

    def changed(factor: float) -> list[bool]:
        steered = Document(id="a", text=text, controls=(control(at, 8, factor),))
        draft = drafter().complete(drafter().outline(steered)).draft
        assert draft.content_sha != plain.content_sha
        return [one.sha != other.sha for one, other in zip(draft.passages, plain.passages, strict=True)]

    holds = [one.passage.start < at + 8 and one.passage.end > at for one in plain.passages]
    assert 0 < sum(holds) < len(holds)
    assert changed(0.5) == holds
    assert changed(1.0) == [False] * len(holds), "a factor of 1 changes nothing that is embedded"


def test_controls_stand_behind_the_title_in_what_is_embedded() -> None:
    document = Document(id="a", title=" Wolf ", text="a lamb", controls=(control(2, 4, 2),))
    [prompt] = drafter().complete(drafter().outline(document)).prompts.values()
    [item] = prompt.items
    assert isinstance(item, TextItem)
    assert (item.text, item.controls) == ("Wolf a lamb", (control(text_offset("Wolf") + 2, 4, 2),))


def test_what_is_left_out_takes_no_room_in_a_passage() -> None:
    """However long it is: the rest is split as if it were not there."""
    text = " ".join(f"Sentence number {i} is here." for i in range(12))
    middle = text.index("Sentence number 6")
    drafts = []
    for menu in ("Menu.", "A menu of very many words that would fill passages of their own. " * 9):
        whole = f"{text[:middle]}{menu} {text[middle:]}"
        left_out = (control(middle, len(menu), 0),)
        drafts.append(drafter().complete(drafter().outline(Document(id="a", text=whole, controls=left_out))).draft)
    shas = [[item.sha for item in draft.passages] for draft in drafts]
    assert len(shas[0]) > 3
    assert shas[0] == shas[1]


def test_what_is_left_out_makes_no_passage_of_its_own() -> None:
    boilerplate = " ".join(f"Menu entry {i}." for i in range(40))
    text = f"The wolf runs. {boilerplate} The lamb sleeps."
    left_out = (control(text.index("Menu"), len(boilerplate), 0),)
    for settings in (PROMPTED, CollectionSettings(language="en", whole_documents=True)):
        writer = drafter(settings)
        drafted = writer.complete(writer.outline(Document(id="a", text=text, controls=left_out)))
        terms = Counter[str]()
        for found in writer.terms(drafted, drafted.prompts.keys()).values():
            terms.update(found.keys())
        assert {"wolf", "lamb"} <= set(terms)
        assert "menu" not in terms
        assert len(drafted.prompts) < 4


def test_a_document_of_which_nothing_is_heard_needs_a_title() -> None:
    everything = (control(0, 6, 0), control(7, 4, 0))
    with pytest.raises(InvalidDocument, match="suppress all of its text"):
        drafter().outline(Document(id="a", text="banner foot", controls=everything))
    titled = Document(id="a", text="banner foot", title="Wolf", controls=everything)
    [prompt] = drafter().complete(drafter().outline(titled)).prompts.values()
    assert [item.text for item in prompt.items if isinstance(item, TextItem)] == ["Wolf"]


def test_the_language_is_that_of_what_is_heard() -> None:
    german = "Dieser Text handelt von den Wölfen im Wald und von den Schafen auf der Weide, die sie jagen."
    english = "Subscribe to our newsletter, follow us on all channels, and never miss any of our great offers! " * 30
    writer = drafter(CollectionSettings())
    document = Document(id="a", text=english + german, controls=(control(0, len(english) - 1, 0),))
    assert writer.outline(document).language == "de"
    assert writer.outline(Document(id="a", text=english + german)).language == "en"


@hypothesis.given(controlled())
def test_controls_come_out_of_the_queue_as_they_went_in(given: tuple[str, tuple[TextControl, ...]]) -> None:
    text, controls = given
    items = [
        QueuedDocument(document=Document(id="a", text=text, controls=controls), path="x.jsonl", line=3),
        QueuedDocument(document=Document(id="b", text="b")),
    ]
    assert unpack(pack(items)) == items
