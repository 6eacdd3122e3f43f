"""How documents are cut into batches: by their number, their text and their metadata."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from core.records import CollectionSettings, Document
from embedder.lexical import Analyzer
from indexer.batches import BATCH_CHARACTERS, BATCH_DOCUMENTS, batches, characters_of
from indexer.drafting import Drafter
from store import Database, schema
from store.reindex.pending import next_portion
from tests.indexer.fakes import FakeEncoder, create, enqueue, pipeline_of
from tests.indexer.reindexing.place import Place

VALUES: dict[str, Any] = {f"f{number}": number for number in range(9000)}  # about 120,000 characters


def large(count: int) -> list[Document]:
    return [Document(id=f"d{number}", text="x", metadata=VALUES) for number in range(count)]


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ([], []),
        ([BATCH_CHARACTERS + 1, 1], [1, 1]),
        ([1, BATCH_CHARACTERS], [1, 1]),
        ([1, BATCH_CHARACTERS - 1, 1], [2, 1]),
        ([0] * (BATCH_DOCUMENTS + 1), [BATCH_DOCUMENTS, 1]),
        ([0] * BATCH_DOCUMENTS, [BATCH_DOCUMENTS]),
        ([1] * (BATCH_DOCUMENTS - 1) + [BATCH_CHARACTERS, 1], [BATCH_DOCUMENTS - 1, 1, 1]),
    ],
)
def test_a_batch_is_bounded_by_number_and_size(sizes: list[int], cut: list[int]) -> None:
    found = list(batches(iter(enumerate(sizes)), lambda item: item[1]))
    assert [len(batch) for batch in found] == cut
    assert [item for batch in found for item in batch] == list(enumerate(sizes)), "in their order"


def test_what_is_counted() -> None:
    document = Document(id="a", text="four", title="a", metadata={"é": ["x", 1]})
    draft = Drafter(CollectionSettings(), FakeEncoder(), Analyzer()).outline(document)
    assert characters_of(draft) == 4 + 1 + len('{"é":["x",1]}')


def test_a_batch_of_a_job_is_bounded_by_its_metadata_too(database: Database) -> None:
    create(database)
    enqueue(database, [(None, document) for document in large(8)])
    with database.read() as session:
        rows = session.execute(sa.select(schema.job_batch.c.documents, schema.job_batch.c.payload)).all()
    assert [row.documents for row in rows] == [3, 3, 2]
    assert all(len(row.payload) < BATCH_CHARACTERS for row in rows)


def test_a_commit_is_bounded_by_its_metadata_too(database: Database) -> None:
    create(database)
    committed: list[int] = []
    pipeline_of(database, FakeEncoder()).add("c", large(7), on_progress=lambda now: committed.append(now.committed))
    assert sorted(set(committed)) == [0, 3, 6, 7]


def test_a_portion_of_a_reindex_is_bounded_by_its_metadata_too(database: Database) -> None:
    place = Place(database)
    pipeline_of(database, FakeEncoder()).add("c", large(3))
    reindex = place.begin()
    with database.read() as session:
        assert len(next_portion(session, reindex, documents=100, characters=150_000)) == 1
        assert len(next_portion(session, reindex, documents=100, characters=300_000)) == 2
