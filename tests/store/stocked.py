"""A data directory in which every table has rows of every kind, and all that it says, read without the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from core.records import (
    Collection,
    CollectionSettings,
    Document,
    FieldKind,
    IndexKind,
    SparseScoring,
    SparseVector,
)
from store import Batch, Database, Receipt, WriteSession, catalog, schema
from store.changes import current_seq
from store.commit import commit
from store.indexnames import new_name
from store.jobs.intake import Intake, append, begin, finish
from store.jobs.lease import claim, give_up, postpone
from store.jobs.notices import JobNotice, NoticeKind
from store.jobs.payload import QueuedDocument, pack
from store.jobs.work import BatchOutcome, complete, next_batch
from store.passageindex.record import get_record, moved
from store.segments.sealing import seal
from store.segments.upkeep import compact
from tests.store.learned_library import SPARSE_FINGERPRINT
from tests.store.library import DIMENSION, FINGERPRINT, Item, create, draft_of, embeddings_of

NOW = 1_800_000_000.25


def stock(directory: Path) -> None:
    """Three collections, one with learned weights and one that is held elsewhere; jobs in several states.

    Documents were put, replaced, updated and deleted.
    """
    database = Database.open(directory)
    books = create(database, settings=CollectionSettings(fields={"year": FieldKind.NUMBER, "at": FieldKind.GEO}))
    shelf = [
        Item(
            id=f"book-{i}",
            text="\n".join(f"line {line} of the whale book {i}" for line in range(3)),
            metadata={"year": 1851 + i, "tags": ["sea", f"tag {i}"], "inner": {"old": i % 2 == 0}, "none": None}
            | {"at": {"lat": i / 2, "lon": -i / 3}},
        )
        for i in range(60)
    ]
    store(database, books, shelf)
    seal(database, books.active.id)
    store(database, books, [Item(id="book-1", text="replaced ship"), Item(id="book-2", text=shelf[2].text)])
    compact(database, books)  # retires the first segment
    store(database, books, [], delete=["book-3", "book-11"])
    with database.write() as session:
        songs = catalog.create_collection(
            session,
            "songs",
            CollectionSettings(sparse=SparseScoring.BOTH, language="de", overlap_tokens=3),
            model="test",
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
            sparse_model="splade",
            sparse_fingerprint=SPARSE_FINGERPRINT,
        )
    store(database, songs, [Item(id=f"Lied {i}", text=f"ein Lied vom Meer {i}", language="de") for i in range(6)])
    seal(database, songs.active.id)
    logs = create(database, "logs", CollectionSettings(index=IndexKind.MILVUS))
    store(database, logs, [Item(id=f"log-{i}", text=f"wind from the north {i}\ncalm {i % 2}") for i in range(6)])
    store(database, logs, [], delete=["log-2"])
    _bring(database, logs)
    with database.write() as session:
        _jobs(session, books)
    database.close()


def store(database: Database, collection: Collection, items: Iterable[Item], *, delete: Iterable[str] = ()) -> Receipt:
    """As `library.put`, with vectors of unit length, and learned weights where the collection has them."""
    items, fingerprint = list(items), collection.active.sparse_fingerprint
    embeddings = {}
    for number, (sha, embedding) in enumerate(embeddings_of(items).items()):
        vector = embedding.vector + np.float32(0.25)  # never zero
        weights = SparseVector(ids=np.array([number, 1000], np.int32), weights=np.array([0.5, 1 / 3], np.float32))
        embeddings[sha] = replace(
            embedding, vector=vector / np.linalg.norm(vector), learned=None if fingerprint is None else weights
        )
    batch = Batch(
        collection=collection,
        fingerprint=FINGERPRINT,
        sparse_fingerprint=fingerprint,
        drafts=tuple(draft_of(item, collection.settings.fields) for item in items),
        embeddings=embeddings,
        deletions=tuple(delete),
    )
    with database.write() as session:
        return commit(session, batch)


def _bring(database: Database, collection: Collection) -> None:
    """Say that an engine holds it, but for the last change; and that it holds something that nobody needs any more."""
    with database.write() as session:
        record = get_record(session, collection.active.id)
        newest = current_seq(session, collection.active.id)
        moved(session, record, seq=newest - 1, removed_to=newest - 2)
        left = {"generation_id": None, "name": new_name(), "seq": 0, "removed_to": 0, "passages": 0, "length": 0.0}
        session.execute(sa.insert(schema.passage_index), left)


def contents(directory: Path) -> dict[str, list[object]]:
    """Every row of every table, and what is read from the indexes; not the counters of new ids.

    Raises sqlite3.Error, and what the driver makes of a file that is damaged, for one that cannot be read.
    """
    connection = sqlite3.connect(f"file:{directory / 'salience.db'}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda raw: ("text", raw)
    try:
        found: dict[str, list[object]] = {}
        for table in _TABLES:
            rows = connection.execute(f"SELECT rowid, * FROM {table} NOT INDEXED ORDER BY rowid").fetchall()
            found[table] = [tuple(map(repr, row)) for row in rows]
        for index, (table, columns) in _INDEXES.items():
            rows = connection.execute(f"SELECT {columns} FROM {table} INDEXED BY {index} ORDER BY {columns}").fetchall()
            found[index] = [tuple(map(repr, row)) for row in rows]
        return found
    finally:
        connection.close()


def copied(directory: Path) -> dict[str, list[object]]:
    """`contents`, but for what is the directory's own: a copy has other names in engines elsewhere."""
    return {name: rows for name, rows in contents(directory).items() if not name.startswith("passage_index")}


def _jobs(session: WriteSession, collection: Collection) -> None:
    def items(*numbers: int) -> list[QueuedDocument]:
        return [
            QueuedDocument(document=Document(id=f"d{n}", text=f"text {n}", metadata={"n": n}), path="body", line=n)
            for n in numbers
        ]

    for key in ("first", "second", "third"):
        lease = begin(session, collection, "receiver", seconds=30.0, key=key, now=NOW)
        notices = [
            JobNotice(kind=NoticeKind.ERROR, path="body", line=9, code="invalid_document", reason="no text"),
            JobNotice(kind=NoticeKind.DUPLICATE, document_id="d1", path="body", line=3),
        ]
        batches = [(2, pack(items(1, 2))), (1, pack(items(3)))]
        append(session, lease, Intake(read=4, batches=batches, notices=notices), now=NOW)
        finish(session, lease, digest=bytes(range(32)), now=NOW)
    for state in ("worked on", "waiting", "failed"):
        held = claim(session, f"worker {state}", seconds=30.0, fingerprints=[FINGERPRINT], now=NOW)
        assert held is not None
        batch = next_batch(session, held)
        assert batch is not None
        outcome = BatchOutcome(
            receipt=Receipt(seq=5, created=1, replaced=0, updated=0, unchanged=0, deleted=0),
            failures=[("d2", "model_error", "no kernel")],
            truncated=["d1"],
            passages=1,
            tokens=7,
            seconds=0.5,
        )
        complete(session, held, batch, outcome, now=NOW)
        if state == "waiting":
            postpone(session, held, reason="the remote is down", pause_seconds=12.5, counts=True, now=NOW)
        if state == "failed":
            give_up(session, held, reason="five tries", now=NOW)


_TABLES = (
    "alembic_version", "collection", "generation", "document", "field", "document_field", "term", "passage",
    "embedding", "change", "segment", "job", "job_batch", "job_notice", "passage_index", "term_count",
)  # fmt: skip
_INDEXES = {  # those that searches and commits go by, and what is read from them
    "sqlite_autoindex_document_1": ("document", "collection_id, external_id, id"),
    "document_language": ("document", "collection_id, language, id"),
    "document_field_text": ("document_field", "field_id, text, document_id"),
    "passage_document": ("passage", "document_id, start, id"),
    "passage_sha": ("passage", "sha, document_id, id"),
    "change_generation": ("change", "generation_id, seq, operation, passage_id"),
    "segment_generation": ("segment", "generation_id, state, id, seq, as_of, name, rows, bytes, sha256, retired_at"),
    "job_state": ("job", "state, id"),
    "passage_index_copy": ("passage_index", "generation_id, name, seq, removed_to, passages, length, id"),
}
