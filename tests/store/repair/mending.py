"""A repair, and what is there after it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from core.errors import ModelError
from core.records import Document
from store import Database, Views
from store.catalog import get_collection
from store.repair import Repair, repair
from store.verify import verify
from tests.store.library import Item
from tests.store.stocked import store


def mended(directory: Path, *, dry_run: bool = False) -> tuple[Repair, list[str]]:
    model = Model(directory)
    done = repair(directory, remake=model, dry_run=dry_run)
    if not dry_run:
        assert done.left.findings == verify(directory).findings
    return done, model.remade


class Model:
    """Embeds documents as tests.store.stocked does, and remembers which."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.remade: list[str] = []

    def __call__(self, name: str, documents: Sequence[Document]) -> None:
        database = Database.open(self.directory)
        with database.read() as session:
            collection = get_collection(session, name)
        items = [Item(id=one.id, text=one.text, metadata=one.metadata) for one in documents]
        if items:
            store(database, collection, items)
        database.close()
        self.remade += [one.id for one in documents]


def broken_model(name: str, documents: Sequence[Document]) -> None:
    raise ModelError("no such model here")


def documents(directory: Path) -> dict[tuple[int, str], tuple[str, str, str]]:
    with closing(sqlite3.connect(f"file:{directory / 'salience.db'}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        rows = connection.execute("SELECT collection_id, external_id, title, text, metadata FROM document")
        return {(collection, id_): (title, text, metadata) for collection, id_, title, text, metadata in rows}


def found(directory: Path, term: str) -> int:
    database = Database.open(directory)
    with Views(database).open("books") as view:
        count = len(view.matching({term: 1.0}, 1000).ids)
    database.close()
    return count


def flip_in(good: bytes, bit: int, directory: Path) -> None:
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    (directory / "salience.db").write_bytes(damaged)
