from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import Collection
from store import Database, Views
from tests.store import library


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def collection(database: Database) -> Collection:
    return library.create(database)


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database)
