"""repair, of damaged pages: where a row and its index differ, and flips of bits anywhere in the file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StorageCorrupt
from store.migrate import SCHEMA_VERSION
from store.repair.file import write_anew
from store.repair.mending import Mending
from store.verify import verify
from tests.store.damage import alter_unnoticed, filled_places
from tests.store.repair.mending import documents, flip_in, found, mended

DISPUTES = {
    "a passage's document": ("passage_document", "UPDATE passage SET document_id = 9999 WHERE id = 7", "as its index"),
    "a passage's end": ("passage_document", 'UPDATE passage SET "end" = "end" - 1 WHERE id = 7', "embedded anew"),
    "a waiting batch's turn": ("job_batch_crashes", "UPDATE job_batch SET crashes = 70 WHERE id = 2", "as its index"),
    "settings": ("collection_copy", "UPDATE collection SET settings = '{}' WHERE id = 1", "as its index said"),
    "a state": ("generation_collection", "UPDATE generation SET dimension = 0 WHERE id = 1", "as its index said"),
    "a job's count": ("job_copy", "UPDATE job SET pending = 3 WHERE id = 1", "as its index said"),
    "a job's worker": ("job_copy", "UPDATE job SET worker = 'me' WHERE worker IS NOT NULL", "that of the row was kept"),
    "a filter's value": ("document_field_number", "UPDATE document_field SET number = 7 WHERE number = 1860", "values"),
    "the log": ("change_generation", "UPDATE change SET operation = '-' WHERE seq = 3", "the change log of 'books'"),
    "a segment": ("segment_generation", "UPDATE segment SET rows = 3 WHERE id = 3", "dropped with those of its gener"),
}  # fmt: skip


@pytest.mark.parametrize("what", DISPUTES)
def test_where_a_row_and_its_index_differ_the_one_counts_that_fits(data: Path, what: str) -> None:
    index, statement, expected = DISPUTES[what]
    alter_unnoticed(data, index, statement)
    assert any(index in finding.problem for finding in verify(data).findings), verify(data).findings
    done, _ = mended(data)
    assert done.left.findings == ()
    assert any(expected in line for line in (*done.done, *done.doubts)), done
    assert found(data, "whale") == 57 * 3


def test_a_word_that_is_damaged_in_one_of_three_places(data: Path, sound: Path) -> None:
    """In a text it is lost; in the table of terms, or in its index, it is found again."""
    good = (data / "salience.db").read_bytes()
    places = [place for place in range(len(good)) if good.startswith(b"ship", place)]
    outcomes = []
    for place in places:
        shutil.rmtree(data)
        shutil.copytree(sound, data)
        damaged = bytearray(good)
        damaged[place] ^= 1
        (data / "salience.db").write_bytes(damaged)
        done, _ = mended(data)
        outcomes.append(found(data, "ship") if done.left.ok else "lost")
    assert sorted(outcomes, key=str) == [1, 1, "lost"]


def test_no_flip_of_a_bit_costs_a_document_without_a_word(sound: Path, tmp_path: Path) -> None:
    """After a repair every document is the one that it was, or is named; and what is called sound is."""
    good, before = (sound / "salience.db").read_bytes(), documents(sound)
    chance = random.Random(11)
    places = list(filled_places(sound, good))
    mended_fully = 0
    shutil.copytree(sound, tmp_path / "data")
    for place in chance.sample(places, 36):
        for rest in (tmp_path / "data").glob("salience.db*"):
            rest.unlink()
        flip_in(good, place * 8 + chance.randrange(8), tmp_path / "data")
        try:
            done, _ = mended(tmp_path / "data")
        except StorageCorrupt:  # beyond repair, which it says
            continue
        said = " ".join(
            [*done.done, *done.doubts, *done.failed, *(one.where + one.problem for one in done.left.findings)]
        )
        if done.left.ok:
            mended_fully += 1
        if done.left.version != SCHEMA_VERSION or "cannot be read on" in said:
            continue
        after = documents(tmp_path / "data")
        for key, content in before.items():
            assert after.get(key) == content or repr(key[1]) in said, (place, key, said)
    assert mended_fully >= 12


def places_in_indexes(directory: Path, good: bytes, chance: random.Random) -> Iterator[int]:
    """A byte of the first page of every index."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        roots = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    for (root,) in roots:
        page = good[(root - 1) * size : root * size]
        yield (root - 1) * size + chance.choice([place for place, byte in enumerate(page) if byte])


def test_every_index_is_mended_in_place_or_with_the_whole_file(sound: Path, data: Path) -> None:
    """Also where SQLite cannot free its pages, and so cannot make it anew."""
    good, chance = (sound / "salience.db").read_bytes(), random.Random(5)
    before, anew = documents(sound), 0
    for place in places_in_indexes(sound, good, chance):
        for rest in data.glob("salience.db*"):
            rest.unlink()
        flip_in(good, place * 8 + chance.randrange(8), data)
        done, _ = mended(data)
        assert done.left.findings == (), place
        assert documents(data) == before, place
        anew += any("written anew, and its indexes" in line for line in done.done)
    assert anew > 0
    assert sorted((data / "backups").iterdir()) == []


@pytest.mark.parametrize("last", ["repair.file_written", "repair.file_replaced"])
def test_ended_around_writing_the_new_file_over_the_old_one(
    data: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """It is one of the two, whole; and what is left behind is known as such."""
    before = documents(data)

    def stop(step: str) -> None:
        if step == last:
            raise KeyboardInterrupt

    monkeypatch.setattr("store.failpoints.observer", stop)
    with pytest.raises(KeyboardInterrupt):
        write_anew(data)
    assert verify(data).ok
    monkeypatch.undo()
    write_anew(data)
    assert verify(data).ok
    assert documents(data) == before
    assert found(data, "whale") == 57 * 3


def test_the_whole_file_is_read_again_only_where_an_index_was_made_anew(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, statements = Mending.rows, list[str]()

    def counted(self: Mending, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        statements.append(statement)
        return rows(self, statement, *parameters)

    monkeypatch.setattr(Mending, "rows", counted)
    alter_unnoticed(data, "document_language", "UPDATE document SET language = 'xx' WHERE id = 5")
    assert mended(data)[0].left.ok
    assert statements.count("PRAGMA integrity_check") == 2
