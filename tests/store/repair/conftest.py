from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from store import Database
from store.catalog import get_collection
from tests.store.library import Item
from tests.store.stocked import stock, store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.scan.CODED_ROWS", 10)
        stock(directory)
        database = Database.open(directory)
        with database.read() as session:
            books = get_collection(session, "books")
        store(database, books, [Item(id="unsealed", text="words of the tail\nand more of them")])
        database.close()
    return directory


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))
