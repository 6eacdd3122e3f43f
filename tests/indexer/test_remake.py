"""What a repair does about the other generation of a reindex: it is mended like a collection, or it is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.records import Document
from core.reindexes import ReindexState
from store.catalog import find_collection
from store.database import Database
from store.directory import SEGMENTS
from store.reindex.record import hidden_collection
from store.repair import Repair, repair
from store.segments.rows import active_segments
from store.segments.sealing import seal
from store.verify import verify
from tests.indexer.reindexing.place import Place

STATES = [ReindexState.READY, ReindexState.SWITCHED]  # the hidden generation is the new one, or the old one


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def place(directory: Path) -> Iterator[Place]:
    place = Place(Database.open(directory))
    place.add(**{f"d{number}": f"the words of text {number}" for number in range(30)})
    yield place
    place.database.close()


def hidden_name(place: Place, state: ReindexState) -> str:
    """Of a reindex in that state; all documents but the last are in a segment."""
    place.begin(auto_switch=state is ReindexState.SWITCHED)
    reindex = place.work(state)
    with place.database.read() as session:
        hidden = hidden_collection(session, reindex)
    assert seal(place.database, hidden.active.id)
    place.add(tail="words of the tail")
    while place.reindexing.turn():
        pass
    return hidden.name


def damage_segment(place: Place, name: str) -> None:
    with place.database.read() as session:
        (row,) = active_segments(session, find_collection(session, name).active.id)
    path = place.database.directory / SEGMENTS / row.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def execute(directory: Path, statement: str, name: str) -> None:
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement, (name,)).rowcount == 1


# Of the one document that is in no segment.
DAMAGE_VECTOR = """
    UPDATE embedding SET dense = zeroblob(20) WHERE (generation_id, sha) IN (
        SELECT generation.id, passage.sha FROM passage JOIN document ON document.id = document_id
        JOIN collection ON collection.id = document.collection_id
        JOIN generation ON generation.collection_id = collection.id WHERE name = ? AND external_id = 'tail')
"""
LOSE_PASSAGE = """
    DELETE FROM passage WHERE document_id = (
        SELECT document.id FROM document JOIN collection ON collection.id = collection_id
        WHERE name = ? AND external_id = 'd3')
"""


def mended(directory: Path, prepared: Callable[[Place], None] | None = None, **options: Any) -> Repair:
    def remake(name: str, documents: Sequence[Document]) -> None:
        with closing(Database.open(directory)) as database:
            other = Place(database, create_it=False)
            if prepared is not None:
                prepared(other)
            other.pipeline.remake(name, documents)

    return repair(directory, remake=remake, **options)


@pytest.mark.parametrize("state", STATES)
def test_another_generation_is_mended_in_its_place(place: Place, directory: Path, state: ReindexState) -> None:
    name = hidden_name(place, state)
    serving, hidden = place.contents(), place.contents(name)
    damage_segment(place, name)
    place.database.close()
    execute(directory, DAMAGE_VECTOR, name)
    assert {finding.collection for finding in verify(directory).findings} == {name}
    done = mended(directory, dry_run=True)
    assert (done.failed, done.left.ok) == ((), False)
    for remade in ("tail", "d3"):
        done = mended(directory)
        assert (done.failed, done.left.findings) == ((), ())
        assert f"1 documents of '{name}' ('{remade}'): embedded anew from their texts" in done.done
        assert any(line.startswith(f"segments of '{name}' (") for line in done.done) == (remade == "tail")
        if remade == "tail":
            execute(directory, LOSE_PASSAGE, name)
    with closing(Database.open(directory)) as database:
        again = Place(database, create_it=False)
        assert (again.contents(), again.contents(name)) == (serving, hidden)
        step = again.reindexing.switch if state is ReindexState.READY else again.reindexing.rollback
        step(again.now())
        assert again.contents() == hidden
    assert verify(directory).findings == ()


def test_without_its_model_the_way_out_is_named(place: Place, directory: Path) -> None:
    def lacks_it(other: Place) -> None:
        other.new.fingerprint = "fingerprint-of-a-newer-one"

    name = hidden_name(place, ReindexState.READY)
    serving = place.contents()
    damage_segment(place, name)
    place.database.close()
    execute(directory, DAMAGE_VECTOR, name)
    done = mended(directory, lacks_it)
    (failed,) = done.failed
    assert failed.startswith(f"1 documents of '{name}' cannot be embedded anew: ")
    assert "salience reindex cancel c removes it" in failed
    assert any(line.startswith(f"segments of '{name}' (") for line in done.done)
    with closing(Database.open(directory)) as database:
        again = Place(database, create_it=False)
        assert again.contents() == serving
        again.reindexing.end(again.now(), (ReindexState.READY,), ReindexState.CANCELLED)
        again.clean()
    assert verify(directory).findings == ()
