"""verify, of segments: every bit of their files, and that they hold what the database holds."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.records import CollectionSettings, IndexKind
from store import Database, scan
from store.catalog import get_collection
from store.directory import SEGMENTS
from store.segments import files as segment_files
from store.segments.arrayfile import ArrayWriter, Seal, check_file, open_file
from store.segments.rows import SegmentRow, active_segments
from store.segments.sealing import seal
from store.segments.upkeep import compact, remove_retired
from store.verify import Verification, verify
from tests.store import library
from tests.store.stocked import stock, store

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed; "books" has 58 live passages of three lines, tombstones, and codes; "songs" learned weights."""
    directory = tmp_path_factory.mktemp("sound") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "CODED_ROWS", 10)
        stock(directory)
    return directory


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


def problems(done: Verification) -> list[str]:
    return [f"{finding.check}: {finding.where}: {finding.problem}" for finding in done.findings]


def row_of(directory: Path, collection: str) -> SegmentRow:
    database = Database.open(directory)
    with database.read() as session:
        (row,) = active_segments(session, get_collection(session, collection).active.id)
    database.close()
    return row


def execute(directory: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement, parameters).rowcount > 0


def rewrite(directory: Path, collection: str, change: Callable[[Arrays], None]) -> None:
    """Put a segment of other content in the place of a sound one: all hashes fit."""
    row = row_of(directory, collection)
    path = directory / SEGMENTS / row.name
    arrays = {name: np.array(array) for name, array in open_file(path, row.seal).items()}
    change(arrays)
    path.unlink()
    with ArrayWriter(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}) as file:
        for name, array in arrays.items():
            file.append(name, array)
        made = file.finish()
    assert check_file(path, made) == []
    execute(directory, "UPDATE segment SET bytes = ?, sha256 = ? WHERE id = ?", made.size, made.sha256, row.id)


def test_sound_segments_are_looked_at_and_nothing_is_said(sound: Path) -> None:
    done = verify(sound)
    assert (problems(done), done.checked["segments"]) == ([], 2)
    assert "scan.codes" in open_file(sound / SEGMENTS / row_of(sound, "books").name, row_of(sound, "books").seal)
    assert len(open_file(sound / SEGMENTS / row_of(sound, "songs").name, row_of(sound, "songs").seal)["learned.rows"])


def test_every_single_bit_of_a_file_has_a_witness(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    collection = library.create(database)
    library.put(
        database, collection, library.Item(id="1", text="one passage"), library.Item(id="2", text="another one")
    )
    seal(database, collection.active.id)
    database.close()
    row = row_of(tmp_path, "books")
    path = tmp_path / SEGMENTS / row.name
    good = path.read_bytes()
    assert len(good) > 1_000
    with path.open("r+b") as file:
        for bit in range(len(good) * 8):
            file.seek(bit // 8)
            file.write(bytes([good[bit // 8] ^ (1 << bit % 8)]))
            file.flush()
            assert segment_files.segment_problems(tmp_path, row), f"bit {bit}"
            file.seek(bit // 8)
            file.write(good[bit // 8 : bit // 8 + 1])
            file.flush()
    assert segment_files.segment_problems(tmp_path, row) == []


def test_verify_says_so(data: Path) -> None:
    row = row_of(data, "books")
    path = data / SEGMENTS / row.name
    good, chance = path.read_bytes(), random.Random(7)
    for place in [0, len(good) - 1, *(chance.randrange(len(good)) for _ in range(20))]:
        damaged = bytearray(good)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        (finding,) = verify(data).findings
        assert (finding.check, finding.where) == ("segments", f"segment {row.name} of 'books'")
        assert finding.problem.endswith("is not what was written") or "are not zero" in finding.problem
    for content, problem in ((good + b"\0", "bytes; "), (good[:-1], "bytes; "), (b"", "has 0 bytes; ")):
        path.write_bytes(content)
        assert problem in problems(verify(data))[0]
    path.unlink()
    assert problems(verify(data)) == [f"segments: segment {row.name} of 'books': is not there"]


def _swap(name: str, first: Any, second: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][[first, second]] = arrays[name][[second, first]]

    return change


def _add(name: str, place: Any, number: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] += number

    return change


def _add_to_a_frequency_of_the_first(arrays: Arrays) -> None:
    """Of a passage that is there: what one that is gone held is of no account."""
    arrays["terms.values"][np.flatnonzero(arrays["terms.rows"] == 0)[0]] += 1


def _drop_last_row(arrays: Arrays) -> None:
    for name in ("ids", "documents", "vectors"):
        arrays[name] = arrays[name][:-1]


def _drop_all_lists(arrays: Arrays) -> None:
    arrays["scan.lists"] = np.full(len(arrays["ids"]), 3, np.uint16)
    arrays["scan.centroids"] = np.zeros((2, 8), np.float32)


OTHER_CONTENT = {
    "another dimension": (lambda a: a.update(vectors=a["vectors"][:, :7]), "by the database it is 178 of 8 dimensions"),
    "fewer passages": (_drop_last_row, "holds 177 passages and vectors of shape (177, 8); by the database it is 178"),
    "ids in disorder": (_swap("ids", 3, 4), "its passages are not in order"),
    "a passage of nobody": (_add("ids", -1, 5000), "which is not there, nor went after change"),
    "another document": (_swap("documents", 0, -1), "the documents of passage 1 and 1 more are not those of the"),
    "another vector": (_swap("vectors", 20, 40), "the vectors of passage 2"),
    "a bit of a vector": (_add("vectors", (9, 3), np.float32(1e-7)), "the vectors of passage "),
    "a frequency": (_add_to_a_frequency_of_the_first, "the terms of passage"),
    "terms": (_add("terms.terms", slice(None), 1), "the terms of passage"),
    "lengths": (_add("terms.lengths", 0, 1), "the terms of passage"),
    "a long vector": (_add("largest_norm", 0, 1), "says that its longest vector has the length 2; it has 1"),
    "rows in disorder": (_swap("terms.rows", 0, 1), "its terms do not name their passages in order"),
    "a row beyond": (_add("terms.rows", -1, 5000), "its terms do not name their passages in order"),
    "terms in disorder": (_swap("terms.terms", 0, 1), "its terms are not in the order of their ids"),
    "offsets": (_add("terms.offsets", 1, -400), "its terms do not say where each term begins"),
    "a lost offset": (lambda a: a.update({"terms.offsets": a["terms.offsets"][:-1]}), "its terms do not fit together"),
    "codes": (_add("scan.codes", 7, 9), "the codes of 1 vectors are not theirs"),
    "fewer codes": (lambda a: a.update({"scan.codes": a["scan.codes"][1:]}), "has codes of shape (177, 2); for its"),
    "lengths of vectors": (_add("scan.length", 0, 0.5), "does not know which of its vectors are of another length"),
    "lists": (_drop_all_lists, "its lists do not hold all of its vectors"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER_CONTENT)
def test_content_that_is_not_the_databases_although_all_hashes_fit(data: Path, what: str) -> None:
    change, expected = OTHER_CONTENT[what]
    rewrite(data, "books", change)
    found = problems(verify(data))
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("segments: segment") for problem in found), found


def test_learned_weights_are_compared(data: Path) -> None:
    rewrite(data, "songs", _add("learned.values", 3, np.float32(0.25)))
    (found,) = problems(verify(data))
    assert "the learned weights of passage " in found


def test_a_graph_of_other_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "CODED_ROWS", 10)
    database = Database.open(tmp_path)
    collection = library.create(database, settings=CollectionSettings(index=IndexKind.HNSW))
    other = library.create(database, "other", CollectionSettings(index=IndexKind.HNSW))
    for number, held in ((60, collection), (40, other)):
        store(database, held, [library.Item(id=f"{i}", text=f"words {i}") for i in range(number)])
        seal(database, held.active.id)
    database.close()
    assert problems(verify(tmp_path)) == []
    stranger = row_of(tmp_path, "other")
    graph = np.array(open_file(tmp_path / SEGMENTS / stranger.name, stranger.seal)["scan.graph"])
    rewrite(tmp_path, "books", lambda arrays: arrays.update({"scan.graph": graph}))
    assert any("its graph does not hold all of its vectors" in problem for problem in problems(verify(tmp_path)))


ROWS = {
    "too old": ("UPDATE segment SET seq = 5 WHERE id = 3", "which came after change 5"),
    "newer than its removals": ("UPDATE segment SET as_of = 9999 WHERE id = 3", "nor went after change 9999"),
    "fewer rows": ("UPDATE segment SET rows = 3 WHERE id = 3", "by the database it is 3 of 8 dimensions"),
    "of another size": ("UPDATE segment SET bytes = 3 WHERE id = 3", "bytes; 3 were written"),
    "of another header": ("UPDATE segment SET sha256 = zeroblob(32) WHERE id = 3", "its header is not what was"),
    "newer than it is": ("UPDATE segment SET seq = 100000 WHERE id = 4", "is in none (1 passages in all): no search"),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_what_the_row_says(data: Path, what: str) -> None:
    """With all indexes right: what a fault in the program would leave."""
    if what == "newer than it is":
        database = Database.open(data)
        with database.read() as session:
            songs = get_collection(session, "songs")
        store(database, songs, [library.Item(id="late", text="unsealed words", language="de")])
        database.close()
    statement, expected = ROWS[what]
    execute(data, statement)
    assert any(expected in problem for problem in problems(verify(data))), problems(verify(data))


def test_a_passage_in_two_segments(data: Path) -> None:
    execute(data, "UPDATE segment SET state = 'active' WHERE state = 'retired'")
    found = problems(verify(data))
    assert any("segments of 'books': passage 1 is in more than one" in problem for problem in found), found


def test_files_of_nobody_are_noted_and_no_damage(data: Path) -> None:
    (data / SEGMENTS / "0123.segment.unfinished").write_bytes(b"x" * 2**20)
    done = verify(data)
    assert done.ok
    assert done.notes == (
        "1 files below segments/ belong to no segment (1.0 MiB): they are being written, or were left behind and go by "
        "and by",
    )


def test_segments_that_are_merged_and_removed_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that went because others hold its passages by now is no damage."""
    database = Database.open(data)
    with database.read() as session:
        books = get_collection(session, "books")
    gone: list[str] = []
    checked = check_file

    def overtaken(path: Path, sealed: Seal) -> list[str]:
        if not gone:
            gone.append(path.name)
            store(database, books, [library.Item(id="late", text="late words")])
            assert compact(database, books)
            assert remove_retired(database, grace_seconds=0.0)
            assert not path.exists()
        return checked(path, sealed)

    monkeypatch.setattr(segment_files, "check_file", overtaken)
    assert problems(verify(data)) == []
    assert gone
    database.close()
