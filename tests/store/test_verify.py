"""verify: silent about what is sound, loud about anything that is not what was written."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from core.errors import SalienceError, SchemaTooNew, StorageError
from store import Database, schema
from store.catalog import get_collection
from store.checksum import CHECKSUM, covered_columns, row_checksum
from store.migrate import SCHEMA_VERSION
from store.verify import MAX_FINDINGS, Verification, verify
from tests.store import library
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


def problems(done: Verification) -> list[str]:
    return [f"{finding.check}: {finding.where}: {finding.problem}" for finding in done.findings]


def change(directory: Path, statement: str, *parameters: object, sealed: bool = True) -> None:
    """Change rows behind the store's back; `sealed`: with checksums that fit what is there then."""
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement, parameters).rowcount != 0, "the statement must change something"
        if sealed:
            connection.create_function("row_checksum", -1, row_checksum)
            for table in schema.metadata.tables.values():
                if covered := covered_columns(table):
                    connection.execute(f"UPDATE {table.name} SET checksum = row_checksum({', '.join(covered)})")


def test_a_sound_directory_has_no_findings(sound: Path) -> None:
    before = contents(sound)
    done = verify(sound)
    assert problems(done) == []
    assert done.version == SCHEMA_VERSION
    assert {what: done.checked[what] for what in ("collections", "documents", "jobs")} == {
        "collections": 2, "documents": 64, "jobs": 3,
    }  # fmt: skip
    assert min(done.checked.values()) > 0, "every check had something to look at"
    assert contents(sound) == before


def test_progress_is_told_to_the_end(sound: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    done = verify(sound, on_progress=lambda what, count, total: told.update({what: (count, total)}))
    assert told["documents"] == (64, 64)
    assert told["embeddings"] == (done.checked["embeddings"],) * 2
    assert told["changes"][0] == told["changes"][1]


def test_every_column_has_a_second_witness() -> None:
    """A checksum, or an index, whose entries SQLite compares with the rows."""
    for table in schema.metadata.tables.values():
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


def filled_places(directory: Path, good: bytes) -> Iterator[int]:
    """Some bytes of the cells of every table and index."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        names = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    rng = random.Random(5)
    for _, root in names:
        page = good[(root - 1) * size : root * size]
        filled = [place for place, byte in enumerate(page) if byte]
        yield from ((root - 1) * size + place for place in rng.sample(filled, min(8, len(filled))))


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


DAMAGE = {
    "a title": ("UPDATE document SET title = 'another' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "a text": ("UPDATE document SET text = text || '.' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "metadata": ("UPDATE document SET metadata = '{}' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "a text's type": ("UPDATE document SET title = CAST(title AS BLOB) WHERE id = 5", "its title, text, metadata"),
    "a vector": ("UPDATE embedding SET dense = zeroblob(32) WHERE id = 5", "embedding 5 of 'books', of 'book-"),
    "terms": (
        "UPDATE embedding SET sparse = x'' WHERE id = 5",
        "its vector, terms or weights are not what was written",
    ),
    "a missing checksum": ("UPDATE embedding SET checksum = x'' WHERE id = 5", "are not what was written"),
    "a waiting batch": ("UPDATE job_batch SET payload = x'5b5d'", "batch 2 of job 1: is not what was written"),
    "an error's reason": ("UPDATE job_notice SET reason = 'none' WHERE id = 1", "notice 1 of job 1: is not what was"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_a_checksum_covers(data: Path, what: str) -> None:
    statement, expected = DAMAGE[what]
    change(data, statement, sealed=False)
    assert any(expected in problem for problem in problems(verify(data))), problems(verify(data))


SENSELESS = {
    "a longer vector": ("UPDATE embedding SET dense = zeroblob(36) WHERE id = 5", "its vector has 36 bytes; 8 dim"),
    "no direction": ("UPDATE embedding SET dense = zeroblob(32) WHERE id = 5", "its vector has the length 0; it"),
    "half a posting": ("UPDATE embedding SET sparse = x'0100' WHERE id = 5", "its terms take 2 bytes"),
    "an unknown term": (
        "UPDATE embedding SET sparse = x'ffffff000000803f' WHERE id = 5",
        "its terms have an id that the collection does not know",
    ),
    "terms out of order": (
        "UPDATE embedding SET sparse = x'020000000000803f010000000000803f' WHERE id = 5", "its terms are not in order",
    ),
    "0.3 of a word": ("UPDATE embedding SET sparse = x'010000009a99993e' WHERE id = 5", "a weight that cannot be"),
    "a negative weight": (
        "UPDATE embedding SET learned = x'01000000000000bf' WHERE learned IS NOT NULL",
        "its learned weights have a weight that cannot be",
    ),
    "no learned weights": ("UPDATE embedding SET learned = NULL WHERE learned IS NOT NULL", "has learned weights, or"),
    "a lost embedding": ("DELETE FROM embedding WHERE id = 5", "has no embedding: no search finds it"),
    "a span beyond the text": ('UPDATE passage SET "end" = 9999 WHERE id = 9', "is not within 0 to"),
    "passages in disorder": ('UPDATE passage SET start = 0, fresh = 0 WHERE id = 9', "begins or ends before the one"),
    "a document without passages": ("DELETE FROM passage WHERE document_id = 5", "'book-4' of 'books': has no passage"),
    "a filter's value": ("UPDATE document_field SET number = 7 WHERE number > 1880", "the values that filters compare"),
    "a filter's lost value": ("DELETE FROM document_field WHERE document_id = 5", "the values that filters compare"),
    "broken metadata": ("UPDATE document SET metadata = '{' WHERE id = 5", "its metadata is not what Salience stores"),
    "a lost arrival": ("DELETE FROM change WHERE seq = 3", "is stored, and is not there by the log"),
    "a departure": ("UPDATE change SET operation = '-' WHERE operation = '='", "is stored, and is not there"),
    "a lost departure": ("DELETE FROM change WHERE operation = '-'", "is there by the log, and is not stored"),
    "a second arrival": (
        "INSERT INTO change (generation_id, operation, passage_id) VALUES (1, '+', 1)", "in an order that cannot be",
    ),
    "an unknown operation": ("UPDATE change SET operation = '*' WHERE seq = 3", "in an order that cannot be"),
    "no active generation": ("UPDATE generation SET state = 'retired'", "has 0 active generations; it must have one"),
    "an unknown state": ("UPDATE generation SET state = 'activf'", "its state is 'activf'"),
    "settings": ("UPDATE collection SET settings = replace(settings, '\"k1\": 1', '\"k1\": -1')", "k1 -1.2: must be"),
    "settings that are none": ("UPDATE collection SET settings = '[]'", "its settings cannot be read"),
    "a sparse model without use": ("UPDATE generation SET sparse_model = 'm' WHERE id = 1", "does not fit the setting"),
    "a job's state": ("UPDATE job SET state = 'donf' WHERE id = 1", "job 1: its state is 'donf'"),
    "a job's count": ("UPDATE job SET pending = 3 WHERE id = 1", "3 documents wait by its count, 1 are there"),
    "a job's sum": ("UPDATE job SET created = 40 WHERE id = 1", "neither wait, nor failed, nor were committed"),
    "a lost error": ("DELETE FROM job_notice WHERE id = 1", "job 1: lists 1 notices of kind error"),
    "a batch of another size": ("UPDATE job_batch SET documents = 2", "does not hold 2 documents"),
    "a lowered counter": ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'passage'", "the counter of passage stands"),
    "a lost counter": ("DELETE FROM sqlite_sequence WHERE name = 'change'", "the counter of change stands at 0"),
    "a lost document": ("DELETE FROM document WHERE id = 5", "refers to a row of document that is not there"),
    "a lost index": ("DROP INDEX passage_sha", "index passage_sha: its definition is missing"),
    "a table of others": ("CREATE TABLE recipe (id INTEGER)", "table recipe: its definition is not ours"),
    "two versions": ("INSERT INTO alembic_version VALUES ('0001')", f"it must hold {SCHEMA_VERSION} alone"),
}  # fmt: skip


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
