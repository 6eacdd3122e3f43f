"""The write path, with the real model and a real database."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import CollectionNotFound, ModelError, ModelMismatch
from core.passages import passage_prompt, prompt_budget, prompt_title, text_offset
from core.prompts import Prompt
from core.records import CollectionSettings, Document, Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer import batches as batches_module
from indexer.pipeline import AddProgress, Pipeline, delete
from indexer.records import RecordError, Skipped
from indexer.report import MAX_LISTED
from store import schema
from store.catalog import create_collection, delete_collection
from store.database import Database
from tests.collections import create_for
from tests.indexer.watching import Watched

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank. "


@pytest.fixture
def watched(encoder: LocalEncoder) -> Watched:
    return Watched(encoder)


@pytest.fixture
def pipeline(database: Database, watched: Watched) -> Pipeline:
    collect(database, watched)
    return Pipeline(database, only(watched), Analyzer())


def collect(database: Database, encoder: Watched, name: str = "c", **settings: Any) -> None:
    create_for(encoder, database, name, CollectionSettings(**{"language": "en", **settings}))


def doc(id: str, text: str = "", title: str = "", **metadata: Any) -> Document:
    return Document(id=id, text=text, title=title, metadata=metadata)


def passages(database: Database, id: str) -> list[sa.Row[Any]]:
    """The stored passages of a document with their vectors, in order."""
    statement = (
        sa.select(schema.passage.c.start, schema.passage.c.end, schema.passage.c.fresh, schema.embedding.c.dense)
        .select_from(schema.passage)
        .join(schema.document, schema.document.c.id == schema.passage.c.document_id)
        .join(schema.embedding, schema.embedding.c.sha == schema.passage.c.sha)
        .where(schema.document.c.external_id == id)
        .order_by(schema.passage.c.start)
    )
    with database.read() as session:
        return list(session.execute(statement).all())


def vectors(rows: Iterable[sa.Row[Any]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.stack([np.frombuffer(row.dense, "<f4") for row in rows])


def documents(database: Database) -> dict[str, str]:
    with database.read() as session:
        rows = session.execute(sa.select(schema.document.c.external_id, schema.document.c.text))
        return {row.external_id: row.text for row in rows}


def delete_once_meanwhile(watched: Watched, database: Database, id: str) -> list[list[str]]:
    """Another writer deletes the document when the encoder is first asked; the list is empty once it has."""
    deletions = [[id]]

    def interfere() -> None:
        if deletions:
            delete(database, "c", deletions.pop())

    watched.before = interfere
    return deletions


def test_create_replace_update_and_leave_alone(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    first = pipeline.add("c", [doc("a", "apples"), doc("b", "bananas", price=1), doc("d", "dates")])
    assert (first.created, first.passages, len(watched.embedded)) == (3, 3, 3)
    again = pipeline.add("c", [doc("a", "apples"), doc("b", "bananas", price=2), doc("d", "figs")])
    assert (again.created, again.replaced, again.updated, again.unchanged) == (0, 1, 1, 1)
    assert watched.embedded[3:] == ["figs"]
    assert again.seq > first.seq
    assert documents(database) == {"a": "apples", "b": "bananas", "d": "figs"}
    third = pipeline.add("c", [doc("e", "apples")])
    assert (third.created, third.passages) == (1, 0), "a text that another document has is not embedded twice"
    np.testing.assert_array_equal(vectors(passages(database, "e")), vectors(passages(database, "a")))


def test_passages_are_embedded_with_their_title(pipeline: Pipeline, database: Database, encoder: LocalEncoder) -> None:
    text = SENTENCE * 60
    report = pipeline.add("c", [doc("a", text, "Foxes and dogs")])
    stored = passages(database, "a")
    assert report.passages == len({row.dense for row in stored}) > 1
    assert "".join(text[row.fresh : row.end] for row in stored) == text
    prompts = [Prompt.of(f"Foxes and dogs {text[row.start : row.end]}") for row in stored]
    made = encoder.encode(prompts, Representation.DOCUMENT)
    assert not made.truncated.any()
    assert report.truncated_count == 0
    np.testing.assert_allclose(vectors(stored), made.vectors, atol=1e-5)
    assert made.token_counts.min() > 100
    assert any(row.start < row.fresh for row in stored), "neighbours overlap"


def test_a_long_title_leaves_room_for_the_text(pipeline: Pipeline, encoder: LocalEncoder, database: Database) -> None:
    title = "word " * 500
    report = pipeline.add("c", [doc("a", SENTENCE * 60, title)])
    assert report.truncated_count == 0
    cut = prompt_title(title, CollectionSettings(), encoder)
    assert len(encoder.token_spans(cut)) == prompt_budget(CollectionSettings(), encoder) // 3
    assert title.startswith(cut)
    assert len(passages(database, "a")) > 4


def test_a_title_alone_is_embedded(pipeline: Pipeline, database: Database, encoder: LocalEncoder) -> None:
    pipeline.add("c", [doc("a", "", "Foxes"), doc("b", " \n", "Foxes")])
    (row,) = passages(database, "a")
    assert (row.start, row.end) == (0, 0)
    expected = encoder.encode([Prompt.of("Foxes")], Representation.DOCUMENT).vectors
    np.testing.assert_allclose(vectors([row]), expected, atol=1e-5)


def test_whole_documents_are_cut_by_the_model_and_counted(
    pipeline: Pipeline, database: Database, watched: Watched
) -> None:
    collect(database, watched, "whole", whole_documents=True)
    report = pipeline.add("whole", [doc("long", SENTENCE * 60, "Title"), doc("short", SENTENCE)])
    (row,) = passages(database, "long")
    assert (row.start, row.end) == (0, len(SENTENCE) * 60)
    assert report.truncated == ("long",)
    assert watched.embedded[0].startswith("Title The quick")


def test_passage_settings_are_kept(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    collect(database, watched, "small", passage_tokens=40, overlap_tokens=0)
    pipeline.add("small", [doc("a", SENTENCE * 12, "Foxes")])
    rows = passages(database, "a")
    assert len(rows) > 4
    assert all(row.start == row.fresh for row in rows)
    assert max(len(watched.token_spans(text)) for text in watched.embedded) <= 40


def test_a_poison_document_costs_itself_only(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    watched.fails = lambda text: "poison" in text
    watched.spoils = lambda text: "spoilt" in text
    batch = [doc(str(i), f"text number {i}") for i in range(9)]
    batch[2:2] = [doc("p", "poison"), doc("s", "spoilt")]
    report = pipeline.add("c", batch)
    assert report.created == 9
    assert set(documents(database)) == set("012345678")
    assert {error.id: error.code for error in report.failed} == {"p": "model_error", "s": "model_error"}
    reasons = " ".join(error.reason for error in report.failed)
    assert "no kernel for this text" in reasons
    assert "not finite" in reasons


def test_a_model_that_fails_on_everything_ends_the_run(pipeline: Pipeline, watched: Watched) -> None:
    watched.fails = lambda text: True
    with pytest.raises(ModelError, match=r"every document of a batch.*no kernel"):
        pipeline.add("c", [doc("a", "x"), doc("b", "y")])


def test_what_cannot_be_stored_is_reported_and_the_rest_goes_on(pipeline: Pipeline, database: Database) -> None:
    before = RecordError(code="unreadable_file", reason="r")
    report = pipeline.add(
        "c",
        [
            before,
            doc("a", "a\0"),
            Skipped(path="x.exe", reason="r"),
            doc("b", "\ud800"),
            doc("e", " ", "\t"),
            doc("n", "x", v=float("nan")),
            doc("ok", "x"),
        ],
    )
    assert report.failed[0] == before
    assert [error.id for error in report.failed[1:]] == ["a", "b", "e", "n"]
    assert {error.code for error in report.failed[1:]} == {"invalid_document"}
    assert set(documents(database)) == {"ok"}


def test_of_duplicate_ids_the_last_wins_and_it_is_said(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "BATCH_DOCUMENTS", 2)
    items = [doc("a", "1"), doc("a", "2"), doc("b", "x"), doc("a", "3")]
    report = pipeline.add("c", items)
    assert documents(database) == {"a": "3", "b": "x"}
    assert (report.duplicates, report.duplicate_count) == (("a", "a"), 2)


def test_batches_are_bounded_and_acknowledged_as_they_go(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "BATCH_CHARACTERS", 300)
    taken = 0

    def source() -> Iterator[Document]:
        nonlocal taken
        for i in range(30):
            taken += 1
            yield doc(str(i), f"{i} " * 15)
        raise OSError("the source broke off")

    stored: list[tuple[int, int]] = []

    def progress(now: AddProgress) -> None:
        if not stored or now.committed > stored[-1][0]:
            stored.append((now.committed, len(documents(database))))
            assert taken - now.committed <= 21

    with pytest.raises(OSError, match="broke off"):
        pipeline.add("c", source(), on_progress=progress)
    assert len(stored) >= 4
    assert all(committed == found for committed, found in stored)
    assert len(documents(database)) >= 20, "what was committed stays"


def test_progress_only_grows_and_ends_at_the_report(pipeline: Pipeline) -> None:
    seen: list[AddProgress] = []
    items = [doc(str(i), f"{i} {SENTENCE}") for i in range(150)]
    report = pipeline.add("c", [*items, doc("bad", "")], on_progress=seen.append)
    assert seen[-1].documents == 151
    for name in ("documents", "committed", "passages", "tokens"):
        values = [getattr(now, name) for now in seen]
        assert values == sorted(values)
    assert (seen[-1].committed, seen[-1].passages, seen[-1].tokens) == (150, report.passages, report.tokens)
    assert len({now.passages for now in seen}) > 2, "batches of the encoder are seen, not only commits"


def test_the_report_lists_up_to_a_limit_and_counts_on(pipeline: Pipeline) -> None:
    report = pipeline.add("c", [doc("a")] * (MAX_LISTED + 7))
    assert len(report.failed) == MAX_LISTED
    assert report.failed_count == MAX_LISTED + 7
    assert report.seq == 0


def test_a_document_deleted_while_it_is_taken_for_unchanged_comes_back_whole(
    pipeline: Pipeline, database: Database, watched: Watched
) -> None:
    pipeline.add("c", [doc("a", "apples")])
    deletions = delete_once_meanwhile(watched, database, "a")
    report = pipeline.add("c", [doc("a", "apples"), doc("b", "bananas")])
    assert not deletions
    assert (report.created, report.unchanged) == (2, 0)
    assert len(passages(database, "a")) == 1


def test_a_shared_embedding_deleted_meanwhile_is_made_again(
    pipeline: Pipeline, database: Database, watched: Watched
) -> None:
    pipeline.add("c", [doc("a", "apples")])
    deletions = delete_once_meanwhile(watched, database, "a")
    report = pipeline.add("c", [doc("b", "apples"), doc("z", "zebras")])
    assert not deletions
    assert report.created == 2
    assert len(passages(database, "b")) == 1


def test_runs_from_several_threads(pipeline: Pipeline, database: Database) -> None:
    def add(number: int) -> None:
        pipeline.add("c", [doc(f"{number}-{i}", f"text {i}") for i in range(20)])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(documents(database)) == 80


def test_delete(pipeline: Pipeline, database: Database) -> None:
    pipeline.add("c", [doc("a", "apples"), doc("b", "bananas")])
    receipt = delete(database, "c", ["a", "nobody", "a"])
    assert receipt.deleted == 1
    assert documents(database) == {"b": "bananas"}
    assert passages(database, "a") == []
    with pytest.raises(CollectionNotFound, match="did you mean 'c'"):
        delete(database, "cc", ["a"])


def test_the_wrong_collection(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    with pytest.raises(CollectionNotFound):
        pipeline.add("nowhere", [doc("a", "x")])
    with database.write() as session:
        create_collection(
            session, "other", CollectionSettings(), model="another", fingerprint="f" * 64, dimension=watched.dimension
        )
    with pytest.raises(ModelMismatch, match="embedded by another"):
        pipeline.add("other", [doc("a", "x")])
    assert watched.embedded == []


def test_a_collection_deleted_meanwhile(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    def interfere() -> None:
        with database.write() as session:
            delete_collection(session, "c")

    watched.before = interfere
    with pytest.raises(CollectionNotFound):
        pipeline.add("c", [doc("a", "x")])


def test_languages_are_detected_for_each_document(pipeline: Pipeline, database: Database, watched: Watched) -> None:
    collect(database, watched, "mixed", language="auto")
    german = "Die Katze schläft auf dem warmen Sofa und träumt von Mäusen."
    pipeline.add(
        "mixed", [doc("de", german), doc("en", SENTENCE), doc("zh", "今天天气很好，我们去公园散步吧，孩子们都很高兴。")]
    )
    with database.read() as session:
        rows = session.execute(sa.select(schema.document.c.external_id, schema.document.c.language))
        assert {row.external_id: row.language for row in rows} == {"de": "de", "en": "en", "zh": "zh"}


def test_the_prompt_and_where_its_text_begins() -> None:
    for title, text in (("T", "text"), ("", "text"), ("Two words", "")):
        prompt = passage_prompt(title, text)
        assert prompt[text_offset(title) :] == text
