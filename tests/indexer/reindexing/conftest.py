from __future__ import annotations

from collections.abc import Iterator

import pytest

from store import Database
from tests.indexer.reindexing.place import Place


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database.open(tmp_path_factory.mktemp("second"))
    yield opened
    opened.close()
