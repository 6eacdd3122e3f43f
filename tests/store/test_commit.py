"""The one write: what it counts, keeps, gives up and refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.errors import (
    CollectionNotFound,
    DocumentNotFound,
    EmbeddingsMissing,
    HitNotFound,
    InvalidDocument,
    ModelError,
    ModelMismatch,
)
from core.filters import parse_filter
from core.records import Collection, Document, Passage
from store import Batch, Database, Embedding, Receipt, Views, catalog, documents, schema
from store.commit import commit, missing_embeddings, unchanged_documents
from store.filters.metadata import StoredMetadata
from store.filters.sql import count_where
from tests.store.library import DIMENSION, FINGERPRINT, Item, create, draft_of, put, sha_of, vector_of


def rows(database: Database, table: sa.Table) -> list[sa.Row[Any]]:
    with database.read() as session:
        return list(session.execute(sa.select(table)))


def outcome(receipt: Receipt) -> dict[str, int]:
    names = ("created", "replaced", "updated", "unchanged", "deleted")
    return {name: getattr(receipt, name) for name in names if getattr(receipt, name)}


def test_what_each_document_comes_to(database: Database, collection: Collection) -> None:
    a, b = Item(id="a", text="one\ntwo", metadata={"n": 1}), Item(id="b", text="three")
    assert outcome(put(database, collection, a, b)) == {"created": 2}
    assert outcome(put(database, collection, a, b)) == {"unchanged": 2}
    assert outcome(put(database, collection, replace(a, metadata={"n": 2}), b)) == {"updated": 1, "unchanged": 1}
    assert outcome(put(database, collection, replace(a, text="four"), Item(id="c", text="five"))) == {
        "replaced": 1,
        "created": 1,
    }
    assert outcome(put(database, collection, delete=["a", "unknown", "a", "\ud800"])) == {"deleted": 1}
    assert outcome(put(database, collection)) == {}
    with database.read() as session:
        assert catalog.counts(session, collection.id) == catalog.Counts(documents=2, passages=2)


def test_of_two_drafts_of_one_id_the_last_wins_and_a_deletion_beats_both(
    database: Database, collection: Collection
) -> None:
    first, last = Item(id="a", text="first"), Item(id="a", text="last")
    assert outcome(put(database, collection, first, last)) == {"created": 1}
    with database.read() as session:
        assert documents.get_document(session, collection.id, "a").document.text == "last"
    assert outcome(put(database, collection, first, delete=["a"])) == {"deleted": 1}
    assert outcome(put(database, collection, first, delete=["a"])) == {}


def test_nothing_is_written_for_what_is_unchanged(database: Database, collection: Collection) -> None:
    item = Item(id="a", text="one\ntwo", metadata={"n": 1, "s": "x"})
    seq = put(database, collection, item).seq
    before = [rows(database, table) for table in schema.metadata.tables.values()]
    assert put(database, collection, item).seq == seq
    assert [rows(database, table) for table in schema.metadata.tables.values()] == before


def test_other_metadata_leaves_the_passages_alone(database: Database, collection: Collection) -> None:
    item = Item(id="a", text="one\ntwo", metadata={"n": 1, "old": True})
    first = put(database, collection, item)
    tables = (schema.passage, schema.embedding, schema.term)
    before = [rows(database, table) for table in tables]
    second = put(database, collection, replace(item, metadata={"n": True}))
    assert [rows(database, table) for table in tables] == before
    assert second.seq > first.seq  # whoever looks at the seq sees that something is different
    with database.read() as session:
        assert documents.get_document(session, collection.id, "a").document.metadata == {"n": True}
    assert [row.number for row in rows(database, schema.document_field)] == [1.0]


def test_one_text_is_embedded_once_and_its_embedding_goes_with_its_last_passage(
    database: Database, collection: Collection
) -> None:
    other = create(database, "films")
    put(database, other, Item(id="x", text="shared"))
    put(database, collection, Item(id="a", text="shared\nshared"), Item(id="b", text="shared"))

    def generations() -> list[int]:
        return [row.generation_id for row in rows(database, schema.embedding) if row.sha == sha_of("shared")]

    assert sorted(generations()) == sorted([collection.active.id, other.active.id])
    put(database, collection, delete=["a"])
    assert len(generations()) == 2
    put(database, collection, Item(id="b", text="different"))
    assert generations() == [other.active.id]
    assert [row.sha for row in rows(database, schema.passage)] == [sha_of("shared"), sha_of("different")]


def test_a_stored_embedding_is_used_and_need_not_come_again(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="a", text="known"))
    new = Item(id="b", text="known\nnew")
    with database.read() as session:
        shas = {sha_of("known"), sha_of("new")}
        assert missing_embeddings(session, collection.active.id, shas) == {sha_of("new")}
        assert missing_embeddings(session, collection.active.id, []) == set()
    batch = Batch(
        collection=collection,
        fingerprint=FINGERPRINT,
        drafts=(draft_of(new),),
        embeddings={sha_of("new"): Embedding(vector=vector_of("new"), terms={"new": 1})},
    )
    with database.write() as session:
        assert commit(session, batch).created == 1
    with Views(database).open("books") as view:
        assert len(view.matching({"known": 1}, 9).ids) == 2


def test_an_embedding_that_went_meanwhile_is_asked_for_again(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="a", text="known"))
    batch = Batch(collection=collection, fingerprint=FINGERPRINT, drafts=(draft_of(Item(id="b", text="known")),))
    put(database, collection, delete=["a"])
    with pytest.raises(EmbeddingsMissing, match="embed them and commit again") as caught, database.write() as session:
        commit(session, batch)
    assert caught.value.retryable
    assert rows(database, schema.document) == []


def test_unchanged_documents_need_no_embedding(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="a", text="one"), Item(id="b", text="two"))
    contents = {"a": sha_of("one"), "b": sha_of("other"), "c": sha_of("new"), "\ud800": sha_of("")}
    with database.read() as session:
        assert unchanged_documents(session, collection.id, contents) == {"a"}


def test_passage_ids_are_never_given_twice(database: Database, collection: Collection) -> None:
    seen: set[int] = set()
    for round_ in range(5):
        put(database, collection, Item(id="a", text=f"text {round_}\nmore {round_}"))
        new = {row.id for row in rows(database, schema.passage)}
        assert len(new) == 2
        assert not new & seen
        seen |= new
        put(database, collection, delete=["a"])
    with Views(database).open("books") as view, pytest.raises(HitNotFound):
        view.fetch(np.array([max(seen)]))


def test_many_documents_in_one_commit(database: Database, collection: Collection) -> None:
    items = [Item(id=f"{i:05}", text=f"line {i}", metadata={"n": i, f"f{i % 7}": str(i)}) for i in range(5_500)]
    assert put(database, collection, *items).created == 5_500
    assert put(database, collection, *items).unchanged == 5_500
    assert put(database, collection, delete=[item.id for item in items[1:]]).deleted == 5_499
    assert len(rows(database, schema.embedding)) == 1


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (Item(id="a\0b", text="x"), "id"),
        (Item(id="\ud800", text="x"), "id"),
        (Item(id="a", text="x\0y"), "text"),
        (Item(id="a", text="x\udfff"), "text"),
        (Item(id="a", text="x", metadata={"k": float("nan")}), "metadata"),
        (Item(id="a", text="x", metadata={"k": [float("inf")]}), "metadata"),
        (Item(id="a", text="x", metadata={"k": "\ud800"}), "metadata"),
        (Item(id="a", text="x", metadata={"\ud800": 1}), "metadata"),
        (Item(id="a", text="x", metadata={"k": "\\\0"}), "metadata"),
        (Item(id="a", text="x", metadata={"k": {1, 2}}), "metadata"),
        (Item(id="a", text="x", metadata={"k": {3: 4}}), "metadata"),
        (Item(id="a", text="x", metadata={"k": list(range(10_001))}), "metadata"),
    ],
)
def test_a_document_that_cannot_be_stored(item: Item, param: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        StoredMetadata.of(Document(id=item.id, text=item.text, metadata=item.metadata), {})
    assert caught.value.param == param


def test_metadata_that_is_nested_too_deep(database: Database, collection: Collection) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(InvalidDocument, match="nested deeper than 20"):
        put(database, collection, Item(id="a", text="x", metadata=deep))


def test_what_looks_like_an_escape_is_stored(database: Database, collection: Collection) -> None:
    metadata = {"k": "\\u0000", "l": "\\\\u0000", "huge": 10**400, "text": "\U0001f600" * 2000}
    put(database, collection, Item(id="a", text="x", metadata=metadata))
    with database.read() as session:
        assert documents.get_document(session, collection.id, "a").document.metadata == metadata


@pytest.mark.parametrize(
    ("vector", "error"),
    [
        (np.zeros(DIMENSION + 1, np.float32), ModelMismatch),
        (np.zeros((1, DIMENSION), np.float32), ModelMismatch),
        (np.full(DIMENSION, np.nan, np.float32), ModelError),
        (np.full(DIMENSION, np.inf, np.float32), ModelError),
    ],
)
def test_a_vector_that_does_not_fit(
    database: Database, collection: Collection, vector: np.ndarray[Any, Any], error: type[Exception]
) -> None:
    batch = Batch(
        collection=collection,
        fingerprint=FINGERPRINT,
        drafts=(draft_of(Item(id="a", text="x")),),
        embeddings={sha_of("x"): Embedding(vector=vector, terms={"x": 1})},
    )
    with pytest.raises(error), database.write() as session:
        commit(session, batch)
    assert rows(database, schema.document) == []


def test_another_model_is_refused(database: Database, collection: Collection) -> None:
    batch = Batch(collection=collection, fingerprint="another", drafts=())
    with pytest.raises(ModelMismatch, match="embedded by test"), database.write() as session:
        commit(session, batch)


def test_a_collection_that_was_deleted_meanwhile(database: Database, collection: Collection) -> None:
    with database.write() as session:
        catalog.delete_collection(session, "books")
    create(database, "books")  # of the same name, but not the same
    with pytest.raises(CollectionNotFound, match="deleted meanwhile"):
        put(database, collection, Item(id="a", text="x"))


def test_documents_come_back_one_by_one_and_in_pages(database: Database, collection: Collection) -> None:
    texts = {name: f"first {name}\nsecond \U0001f600 {name}" for name in ("b", "a", "ä", "Z", "\U0001f600")}
    put(database, collection, *(Item(id=name, text=text, metadata={"n": name}) for name, text in texts.items()))
    with database.read() as session:
        stored = documents.get_document(session, collection.id, "ä")
        assert stored.document == Document(id="ä", text=texts["ä"], title="title of ä", metadata={"n": "ä"})
        assert stored.language == "en"
        assert stored.passages == (Passage(start=0, end=7, fresh=0), Passage(start=8, end=18, fresh=8))
        with pytest.raises(DocumentNotFound, match="no document 'c'"):
            documents.get_document(session, collection.id, "c")
        with pytest.raises(DocumentNotFound):
            documents.get_document(session, collection.id, "\ud800")
        seen: list[str] = []
        while page := documents.list_documents(session, collection.id, limit=2, after=seen[-1] if seen else None):
            seen += [entry.document.id for entry in page]
        assert seen == sorted(texts)
        documents.list_documents(session, collection.id, limit=2, after="\ud800")


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_pages_of_what_satisfies_a_filter_leave_nothing_out(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """However many are looked at in one step."""
    monkeypatch.setattr(documents, "_LOOKED_AT", step)
    put(database, collection, *(Item(id=f"{n:02}", text="one", metadata={"n": n}) for n in range(20)))
    where, within = parse_filter("n >= 5"), parse_filter("not n in (6, 11)")
    with database.read() as session:
        seen: list[str] = []
        while page := documents.list_documents(
            session, collection.id, limit=4, after=seen[-1] if seen else None, where=where, within=within
        ):
            seen += [entry.document.id for entry in page]
        assert seen == [f"{n:02}" for n in range(5, 20) if n not in (6, 11)]
        assert count_where(session, collection.id, where, within=within) == 13
        assert count_where(session, collection.id, None, within=within) == 18
        assert count_where(session, collection.id, None) == 20
        assert (
            count_where(session, collection.id, parse_filter("nn = 1"), within=within) == 0
        )  # and no error that tells


def test_as_few_as_fit_on_a_page_are_not_looked_for_among_all(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, collection, *(Item(id=f"{n:02}", text="one", metadata={"n": n}) for n in range(20)))
    looked_at: list[int] = []
    held = documents._held
    monkeypatch.setattr(documents, "_held", lambda found, numbers: looked_at.extend(numbers) or held(found, numbers))

    def page(where: str, limit: int, after: str | None = None) -> list[str]:
        with database.read() as session:
            tree = parse_filter(where)
            listed = documents.list_documents(session, collection.id, limit=limit, after=after, where=tree)
            return [entry.document.id for entry in listed]

    assert page("n in (17, 3, 9)", 3) == ["03", "09", "17"]
    assert page("n in (17, 3, 9)", 3, "03") == ["09", "17"]
    assert page("n in (17, 3, 9)", 3, "17") == []
    assert looked_at == []
    assert page("n in (17, 3, 9)", 2) == ["03", "09"]
    assert page("not n > 1", 5) == ["00", "01"]
    assert len(looked_at) == 40


def test_a_fetched_passage_is_the_span_of_its_document(database: Database, collection: Collection) -> None:
    item = Item(id="a", text="e\u0301 \U0001f600 one\n\u05d0\u05d1 two", metadata={"n": [1, None]}, language="he")
    put(database, collection, item)
    with Views(database).open("books") as view:
        ids = view.matching({"one": 1, "two": 1}, 9).ids
        fetched = view.fetch(ids[::-1])
        assert [hit.id for hit in fetched] == ids[::-1].tolist()
        for hit in fetched:
            assert hit.text == item.text[hit.passage.start : hit.passage.end]
            assert (hit.document_id, hit.title, hit.metadata, hit.language) == (
                "a",
                "title of a",
                {"n": [1, None]},
                "he",
            )
        with pytest.raises(HitNotFound, match="no passage 999"):
            view.fetch(np.array([int(ids[0]), 999]))
        assert view.languages == ("he",)
