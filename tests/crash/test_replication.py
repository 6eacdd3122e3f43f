"""Whoever brings collections to an engine elsewhere is killed; the next one brings the engine to what the database has.

The engine survives: it is a PlainIndex in a file, whose every call is done as a whole or not at all.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from store import Database, Views, catalog
from store import indexreplication as replication
from store.passageindex.record import IndexRecord, list_records
from store.verify import verify
from tests.crash.campaign import scratch
from tests.crash.running import ROOT
from tests.store.library import Item, create
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import INDEXED
from tests.store.passageindex.plain import PlainIndex
from tests.store.stocked import store

STEPS = re.findall(r'reached\("([^"]+)"\)', Path(replication.__file__).read_text("utf-8"))
_SEED = 7

_BRINGING = """
import os, signal, sys
from pathlib import Path
from unittest.mock import patch
from store import Database, failpoints
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.plain import PlainIndex
data, engine, last, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def observe(step):
    global left
    left -= step == last
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

failpoints.observer = observe
with patch("store.indexreplication._PIECE_ROWS", 7):
    bring(Database.open(data), PlainIndex(engine))
"""


class Home:
    """A data directory and an engine beside it, with what is written to the one by and by."""

    def __init__(self, directory: Path) -> None:
        self.data, self.engine = directory / "data", directory / "engine.db"
        self.chance = random.Random(_SEED)
        self.documents: dict[str, str] = {}  # texts by id: the oracle
        with closing(Database.open(self.data)) as database:
            create(database, settings=INDEXED)
        self.write(40)

    def write(self, count: int) -> None:
        """Some come, some are replaced, some go; and so does a collection that was brought."""
        with closing(Database.open(self.data)) as database:
            with database.read() as session:
                books = catalog.get_collection(session, "books")
            short = create(database, "short", INDEXED)
            store(database, short, [Item(id="s", text="brought, and gone")])
            bring(database, PlainIndex(self.engine))
            with database.write() as session:
                catalog.delete_collection(session, "short")
            ids = [f"d{self.chance.randrange(60)}" for _ in range(count)]
            gone = self.chance.sample(sorted(self.documents), len(self.documents) // 4)
            texts = {id_: f"whale {self.chance.randrange(30)}\nof {id_}" for id_ in ids if id_ not in gone}
            store(database, books, [Item(id=id_, text=text) for id_, text in texts.items()], delete=gone)
            self.documents = {id_: text for id_, text in self.documents.items() if id_ not in gone} | texts

    def kill_at(self, step: str, occurrence: int = 1) -> None:
        command = [sys.executable, "-c", _BRINGING, str(self.data), str(self.engine), step, str(occurrence)]
        done = subprocess.run(command, check=False, cwd=ROOT, timeout=60)
        assert done.returncode == -signal.SIGKILL, f"it never came to {step}"

    def check(self) -> None:
        """Before the next one begins nothing is missing; after it, nothing is there that should not be."""
        index = PlainIndex(self.engine)
        with closing(Database.open(self.data)) as database:
            self._searched(database, index)
            assert verify(self.data, index=index).findings == ()
            bring(database, index)
            self._searched(database, index)
            done = verify(self.data, index=index)
            assert (done.findings, done.notes) == ((), ())
            (record,) = _records(database)
            assert index.names() == {record.name}
            assert record.seq > 0
            with Views(database, index).open("books") as view:
                assert sorted(index.held(record.name)) == view.every_passage().tolist()

    def _searched(self, database: Database, index: PlainIndex) -> None:
        with Views(database, index).open("books") as view:
            found = [(hit.document_id, hit.text) for hit in view.fetch(view.every_passage())]
            whales = view.matching({"whale": 1.0}, 1000).ids
            nearest = view.nearest(np.ones(8, np.float32), 1000).ids
        assert sorted(found) == sorted((id_, line) for id_, text in self.documents.items() for line in text.split("\n"))
        assert len(set(whales.tolist())) == len(whales) == len(self.documents)
        assert len(set(nearest.tolist())) == len(nearest) == 2 * len(self.documents)


def _records(database: Database) -> list[IndexRecord]:
    with database.read() as session:
        return list_records(session)


@pytest.fixture
def home() -> Iterator[Home]:
    with scratch() as directory:
        yield Home(directory)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(home: Home, step: str) -> None:
    home.write(30)
    home.kill_at(step)
    home.check()


def test_killed_again_and_again(home: Home, thorough: bool) -> None:
    """Each goes on where the last one was, and others write meanwhile."""
    for _ in range(8 if thorough else 2):
        home.write(30)
        for step in home.chance.sample(["follow.read", "follow.brought", "follow.noted"], 2):
            home.kill_at(step, home.chance.randint(1, 2))
        home.check()


def test_every_step_is_one_of_these() -> None:
    assert {"follow.dropped", "follow.read", "follow.brought", "follow.noted", "follow.removed"} <= set(STEPS)
