"""verify, of segments: every bit of their files, and that they hold what the database holds."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.records import CollectionSettings, IndexKind
from store import Database, scan
from store.arrayfile import Seal, check_file, open_file
from store.catalog import get_collection
from store.directory import SEGMENTS
from store.segments import files as segment_files
from store.segments.sealing import seal
from store.segments.upkeep import compact, remove_retired
from store.verify import verify
from tests.store import library
from tests.store.damage import problems
from tests.store.segment_damage import OTHER_CONTENT, _add, execute, rewrite, row_of
from tests.store.stocked import stock, store


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
