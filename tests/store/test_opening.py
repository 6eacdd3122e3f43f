"""Opening a directory whose database was damaged: an error of the storage, whatever the damage is."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from core.errors import StorageError
from store import Database, catalog
from tests.store.library import Item, create, put

PAGE = 8192


def test_damaged_definitions_are_an_error_of_the_storage_or_harmless(tmp_path: Path) -> None:
    """The file's header and the pages that define the tables, byte by byte at random."""
    data = tmp_path / "data"
    database = Database.open(data)
    put(database, create(database), Item(id="a", text="words"))
    database.close()
    path = data / "salience.db"
    whole = path.read_bytes()
    with sqlite3.connect(path) as connection:
        pages = [row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE name = 'sqlite_schema'")]
    connection.close()
    chance = random.Random(3)
    places = [*range(18, 100, 3), *(chance.choice(pages) * PAGE - chance.randrange(1, PAGE) for _ in range(170))]
    refused = opened = 0
    for place in places:
        damaged = bytearray(whole)
        for at in range(place, min(place + chance.choice([1, 1, 4, 40]), len(damaged))):
            damaged[at] = chance.choice([0xFF, 0, damaged[at] ^ 0x80, chance.randrange(256)])
        for leftover in data.iterdir():
            if leftover.name.startswith("salience.db"):
                leftover.unlink()
        path.write_bytes(damaged)
        try:
            damaged_database = Database.open(data)
        except StorageError:
            refused += 1
            continue
        try:
            with damaged_database.read() as session:
                catalog.list_collections(session)
            opened += 1
        except StorageError:
            refused += 1
        finally:
            damaged_database.close()
    assert refused > 20
    assert opened > 20
