from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import Collection
from store import Database
from store.passageindex.protocol import PassageIndex
from tests.store.library import create
from tests.store.passageindex.brought import INDEXED, stock_brought
from tests.store.passageindex.plain import PlainIndex


@pytest.fixture
def collection(database: Database) -> Collection:
    """Empty, and to be held by an engine."""
    return create(database, settings=INDEXED)


@pytest.fixture
def index() -> PlainIndex:
    return PlainIndex()


@pytest.fixture
def name(index: PassageIndex) -> Iterator[str]:
    """Of an index that is made where a test makes it."""
    made = f"test_{uuid.uuid4().hex}"
    yield made
    index.drop(made)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, as `stock_brought` makes it, and the file of the engine that holds it."""
    home = tmp_path_factory.mktemp("sound")
    stock_brought(home / "data", PlainIndex(home / "engine.db"))
    return home


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of its own, with the engine's beside it."""
    return Path(shutil.copytree(sound, tmp_path / "home")) / "data"
