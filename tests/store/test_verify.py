"""verify: silent about what is sound, loud about anything that is not what was written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import SalienceError, SchemaTooNew, StorageError
from store import Database, schema
from store.catalog import get_collection
from store.checksum import CHECKSUM, covered_columns, row_checksum
from store.migrate import SCHEMA_VERSION
from store.verify import MAX_FINDINGS, verify
from tests.store import library
from tests.store.damage import DAMAGE, SENSELESS, change, filled_places, problems
from tests.store.stocked import contents, stock, store

FLIPS = 200


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory, closed: all of it is in one file."""
    directory = tmp_path_factory.mktemp("sound") / "data"
    stock(directory)
    return directory


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


def test_a_sound_directory_has_no_findings(sound: Path) -> None:
    before = contents(sound)
    done = verify(sound)
    assert problems(done) == []
    assert done.version == SCHEMA_VERSION
    assert {what: done.checked[what] for what in ("collections", "documents", "jobs")} == {
        "collections": 3, "documents": 69, "jobs": 3,
    }  # fmt: skip
    assert min(done.checked.values()) > 0, "every check had something to look at"
    assert contents(sound) == before


def test_progress_is_told_to_the_end(sound: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    done = verify(sound, on_progress=lambda what, count, total: told.update({what: (count, total)}))
    assert told["documents"] == (69, 69)
    assert told["embeddings"] == (done.checked["embeddings"],) * 2
    assert told["changes"][0] == told["changes"][1]


def test_every_column_has_a_second_witness() -> None:
    """A checksum, or an index, whose entries SQLite compares with the rows; or all of it is counted anew."""
    counted = schema.term_count
    for table in [table for table in schema.metadata.tables.values() if table is not counted]:
        keys = [key.columns for key in table.constraints if type(key).__name__ == "UniqueConstraint"]
        indexed = {
            column.name for columns in [*keys, *(index.columns for index in table.indexes)] for column in columns
        }
        (key,) = table.primary_key.columns
        assert indexed, f"{table.name}: its key is in no index"
        witnessed = indexed | set(covered_columns(table)) | {key.name, CHECKSUM}
        assert {column.name for column in table.columns} - witnessed == set(), table.name


def test_no_random_bit_flip_goes_unnoticed(sound: Path, tmp_path: Path) -> None:
    """A flipped bit changes nothing that is ever read, or verify finds it."""
    good, expected = (sound / "salience.db").read_bytes(), contents(sound)
    rng = random.Random(20261121)
    found = harmless = 0
    for _ in range(FLIPS):
        bit = rng.randrange(len(good) * 8)
        flip(good, bit, tmp_path)
        if is_damaged(tmp_path):
            found += 1
        else:
            assert contents(tmp_path) == expected, f"bit {bit} changed what is read, and verify says nothing"
            harmless += 1
    assert found >= FLIPS // 20, "most of the flips must not miss all content"


def test_no_flip_within_a_row_goes_unnoticed(sound: Path, tmp_path: Path) -> None:
    """Where content is: bits of every table's pages, at the end of which its rows lie."""
    good, expected = (sound / "salience.db").read_bytes(), contents(sound)
    rng = random.Random(4)
    for place in filled_places(sound, good):
        bit = place * 8 + rng.randrange(8)
        flip(good, bit, tmp_path)
        if not is_damaged(tmp_path):
            assert contents(tmp_path) == expected, f"bit {bit} changed what is read, and verify says nothing"


def flip(good: bytes, bit: int, directory: Path) -> None:
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    for rest in directory.iterdir():
        if rest.is_file():
            rest.unlink()
    (directory / "salience.db").write_bytes(damaged)


def is_damaged(directory: Path) -> bool:
    try:
        return not verify(directory).ok
    except SalienceError:
        return True


def test_a_test_of_flips_can_fail(sound: Path, tmp_path: Path) -> None:
    """What the oracle of the tests above compares does see a flip in a title."""
    good = (sound / "salience.db").read_bytes()
    flip(good, good.index(b"title of book-7") * 8, tmp_path)
    assert contents(tmp_path) != contents(sound)


@pytest.mark.parametrize("what", DAMAGE)
def test_what_a_checksum_covers(data: Path, what: str) -> None:
    statement, expected = DAMAGE[what]
    change(data, statement, sealed=False)
    assert any(expected in problem for problem in problems(verify(data))), problems(verify(data))


@pytest.mark.parametrize("what", SENSELESS)
def test_what_cannot_be_although_its_checksum_fits(data: Path, what: str) -> None:
    """Not damage of the disk: what a fault in the program, or a hand, would leave."""
    statement, expected = SENSELESS[what]
    change(data, statement)
    assert any(expected in problem for problem in problems(verify(data))), problems(verify(data))


def test_a_value_that_is_not_finite(data: Path) -> None:
    vector = np.full(library.DIMENSION, np.nan, np.float32).tobytes()
    change(data, "UPDATE embedding SET dense = ? WHERE id = 5", vector)
    assert any("its vector has the length nan" in problem for problem in problems(verify(data)))


def test_a_word_is_in_three_places_and_each_has_a_witness(data: Path) -> None:
    """In a text, which has a checksum; in the table of terms and in its index, which witness for each other."""
    good = (data / "salience.db").read_bytes()
    places = [place for place in range(len(good)) if good.startswith(b"ship", place)]
    found = []
    for place in places:
        flip(good, place * 8, data)
        found += [{finding.check for finding in verify(data).findings}]
    assert sorted(map(sorted, found)) == [["documents"], ["file"], ["file"]]


def test_findings_of_much_damage_are_bounded(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "data")
    collection = library.create(database)  # its vectors are not of unit length
    library.put(database, collection, *(library.Item(id=str(i), text=f"words {i}") for i in range(MAX_FINDINGS + 50)))
    database.close()
    change(tmp_path / "data", "UPDATE document SET title = 'x'", sealed=False)
    found = [finding.check for finding in verify(tmp_path / "data").findings]
    assert found.count("documents") == MAX_FINDINGS


def test_no_database_is_an_error_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no salience\.db"):
        verify(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database at all " * 100, b"SQLite format 3\0" + b"\xff" * 8192, b""])
def test_what_is_no_database_of_ours_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "salience.db").write_bytes(content)
    assert [finding.check for finding in verify(tmp_path).findings] == ["file"]


def test_a_newer_schema_is_not_called_damage(data: Path) -> None:
    change(data, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(SchemaTooNew, match="newer Salience"):
        verify(data)
    change(data, "UPDATE alembic_version SET version_num = 'none'")
    assert any("'none', which is no number" in problem for problem in problems(verify(data)))


def test_a_cut_file_is_found(data: Path) -> None:
    file = data / "salience.db"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert not verify(data).ok


def test_verifying_while_others_write(data: Path) -> None:
    """Each check reads one state, whatever is committed meanwhile."""
    database = Database.open(data)
    with database.read() as session:
        collection = get_collection(session, "books")
    numbers = iter(range(10_000))

    def write(what: str, done: int, total: int | None) -> None:
        i = next(numbers)
        if i % 10 == 0:
            item = library.Item(id=f"new-{i}", text=f"written meanwhile {i}", metadata={"i": i})
            store(database, collection, [item], delete=[f"book-{i // 10}"])

    done = verify(data, on_progress=write)
    assert problems(done) == []
    assert next(numbers) > 50, "it did write"
    database.close()


@pytest.mark.parametrize("kinds", [("1", 1), ("1", b"1"), ("ab", "a"), (None, ""), (1, True)])
def test_a_checksum_tells_types_apart(kinds: tuple[str | bytes | int | None, ...]) -> None:
    one, other = kinds
    assert row_checksum(one) != row_checksum(other)


def test_a_checksum_tells_borders_apart() -> None:
    assert row_checksum("ab", "c") != row_checksum("a", "bc")
    assert row_checksum("ab") != row_checksum("ab", None)
    assert len(row_checksum()) == 8
