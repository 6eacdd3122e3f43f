"""Hashes of stored documents, computed anew without the model: the very ones that the indexer made with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from core.errors import ModelError
from core.passages import prompt_title
from core.records import CollectionSettings, Document, Passage
from embedder.lexical import Analyzer
from indexer.drafting import Drafter
from indexer.recheck import MAX_TITLE, recheck
from indexer.worker import Worker
from store import Database
from store.batch import Draft
from store.catalog import delete_collection
from store.clock import database_now
from store.jobs import cancel_job
from store.jobs.retry import retry_job
from store.jobs.sweep import sweep
from store.verify import verify
from tests.indexer.fakes import FakeEncoder, create, enqueue, job, located, pipeline_of

TITLES = st.text(alphabet="ab é\n", max_size=120)
SETTINGS = st.builds(
    CollectionSettings,
    passage_tokens=st.sampled_from([None, 6, 40]),
    overlap_tokens=st.integers(0, 5),
    whole_documents=st.booleans(),
    title_weight=st.sampled_from([0, 1, 2]),
)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


def drafted(settings: CollectionSettings, document: Document, analyzer: Analyzer) -> Draft:
    drafter = Drafter(settings, FakeEncoder(), analyzer)
    return drafter.complete(drafter.outline(document)).draft


def checked(settings: CollectionSettings, draft: Draft, **changed: Any) -> str | None:
    """`changed`: of the document, after its hashes were made."""
    language = changed.pop("language", draft.language)
    passages = [(item.passage, item.sha) for item in draft.passages]
    return recheck(settings, replace(draft.document, **changed), language, draft.content_sha, passages)


@hypothesis.given(settings=SETTINGS, title=TITLES, text=st.text(alphabet="wörd. \n", max_size=300))
@hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_what_the_indexer_makes_is_sound(
    analyzer: Analyzer, settings: CollectionSettings, title: str, text: str
) -> None:
    draft = drafted(settings, Document(id="d", title=title, text=text or "x"), analyzer)
    assert checked(settings, draft) is None


def test_a_change_of_any_part_is_found(analyzer: Analyzer) -> None:
    settings = CollectionSettings(passage_tokens=12, overlap_tokens=2)
    text = " ".join(f"Sentence number {i} stands here." for i in range(20))
    draft = drafted(
        settings,
        Document(id="d", title="A title of some words that is far too long to stay whole", text=text),
        analyzer,
    )
    assert prompt_title(draft.document.title, settings, FakeEncoder()) != draft.document.title
    assert len(draft.passages) > 3
    assert checked(settings, draft) is None
    for changed in ({"title": "Another title"}, {"text": text.replace("number 7", "number 8")}, {"language": "de"}):
        assert (
            checked(settings, draft, **changed)
            == "its title, text, controls and language are not those that its hash was made of"
        )


def test_passages_under_another_text_are_found(analyzer: Analyzer) -> None:
    settings = CollectionSettings(passage_tokens=12, overlap_tokens=2)
    text = " ".join(f"Sentence number {i} stands here." for i in range(20))
    draft = drafted(settings, Document(id="d", title="Title", text=text), analyzer)
    third = draft.passages[2]
    moved = replace(
        third, passage=Passage(start=third.passage.start, end=third.passage.end - 1, fresh=third.passage.fresh)
    )
    wrong = replace(draft, passages=(*draft.passages[:2], moved, *draft.passages[3:]))
    assert checked(settings, wrong) == "passage 3: its text is not the one that its hash was made of"
    first = replace(draft, passages=(moved,))
    assert checked(settings, first) == "passage 1: its text is not the one that its hash was made of"


def test_passages_under_a_very_long_title_are_left_alone(analyzer: Analyzer) -> None:
    settings = CollectionSettings()
    draft = drafted(settings, Document(id="d", title="t" * (MAX_TITLE + 1), text="words"), analyzer)
    wrong = replace(draft, passages=(replace(draft.passages[0], sha=bytes(32)),))
    assert checked(settings, wrong) is None


def test_whatever_jobs_went_through_verify_finds_nothing(tmp_path: Path) -> None:
    """Documents fail, come twice, are replaced, tried again, cancelled: the counts stay those of what is there."""

    def refuse(texts: list[str]) -> None:
        if any("poison" in text for text in texts):
            raise ModelError("no kernel")

    data, encoder = tmp_path / "data", FakeEncoder(refuse)

    def sound() -> bool:
        done = verify(data, recheck=recheck)
        assert done.findings == ()
        return done.checked["jobs"] > 0

    database = Database.open(data)
    create(database)
    worker = Worker(database, pipeline_of(database, encoder))
    enqueue(database, [*located(300), *located(10), *located(3, prefix="p", text="poison"), *located(5, prefix="p")])
    assert sound()
    worker.drain()
    assert (job(database).duplicates, job(database).failed) == (13, 0)
    enqueue(database, [*located(200, text="replaced"), *located(2, prefix="q", text="poison")])
    worker.drain()
    assert job(database, 2).failed == 2
    assert sound()
    retry_job(database, 2)
    assert job(database, 2).pending == 2
    assert sound()
    encoder.before = lambda texts: None
    worker.drain()
    assert (job(database, 2).failed, job(database, 2).pending) == (0, 0)
    third = enqueue(database, located(400, prefix="never"))
    with database.write() as session:
        cancel_job(session, third.id, now=database_now(session))
    assert sound()
    while sweep(database, now=0.0):
        assert sound()
    enqueue(database, located(9, prefix="late"))
    with database.write() as session:
        delete_collection(session, "c")
    assert sound()
    database.close()
