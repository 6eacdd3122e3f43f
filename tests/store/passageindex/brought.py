"""Two collections that an engine holds, one with learned weights; and what is done to them behind everybody's back."""

from __future__ import annotations

from pathlib import Path

from core.records import CollectionSettings, IndexKind
from store import Database, catalog
from store.passageindex.protocol import PassageIndex
from store.passageindex.record import IndexRecord, get_record
from tests.store.learned_library import create_learned
from tests.store.library import Item, create
from tests.store.passageindex.bringing import bring
from tests.store.stocked import store

INDEXED = CollectionSettings(index=IndexKind.MILVUS)
SHELF = [Item(id=f"d{i}", text=f"whale {i}\nship of the whale {i % 3}") for i in range(20)]


def stock_brought(directory: Path, index: PassageIndex) -> None:
    """Documents put, replaced and deleted, before they were brought to the engine and after; one more is elsewhere."""
    database = Database.open(directory)
    books = create(database, settings=INDEXED)
    store(database, books, SHELF)
    store(database, books, [Item(id="d1", text="replaced sea")], delete=["d2"])
    songs = create_learned(database, "songs", index=IndexKind.MILVUS)
    store(database, songs, [Item(id=f"s{i}", text=f"leg {i}\nsea {i}") for i in range(5)])
    bring(database, index)
    store(database, books, [Item(id="late", text="late whale")], delete=["d3"])
    store(database, create(database, "plain"), [Item(id="p", text="plain whale")])
    database.close()


def record_of(database: Database, name: str) -> IndexRecord:
    with database.read() as session:
        return get_record(session, catalog.get_collection(session, name).active.id)


def recorded(directory: Path, name: str) -> IndexRecord:
    database = Database.open(directory)
    found = record_of(database, name)
    database.close()
    return found
