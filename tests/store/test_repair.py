"""repair: what can be made anew is, what cannot is named, and nothing that is sound is touched."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import ModelError, StorageBusy, StorageCorrupt, StorageError
from core.records import Document
from store import Database, Views
from store.catalog import get_collection
from store.directory import SEGMENTS
from store.maintenance import owning
from store.migrate import SCHEMA_VERSION
from store.processes import register
from store.repair import Repair, repair
from store.repair.file import write_anew
from store.verify import verify
from tests.store.library import Item
from tests.store.stocked import contents, stock, store
from tests.store.test_migrations import write_version
from tests.store.test_verify import DAMAGE, SENSELESS, change, filled_places
from tests.store.test_verify_segments import OTHER_CONTENT, execute, rewrite, row_of


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.scan.CODED_ROWS", 10)
        stock(directory)
        database = Database.open(directory)
        with database.read() as session:
            books = get_collection(session, "books")
        store(database, books, [Item(id="unsealed", text="words of the tail\nand more of them")])
        database.close()
    return directory


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


class Model:
    """Embeds documents as tests.store.stocked does, and remembers which."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.remade: list[str] = []

    def __call__(self, name: str, documents: Sequence[Document]) -> None:
        database = Database.open(self.directory)
        with database.read() as session:
            collection = get_collection(session, name)
        items = [Item(id=one.id, text=one.text, metadata=one.metadata) for one in documents]
        if items:
            store(database, collection, items)
        database.close()
        self.remade += [one.id for one in documents]


def broken_model(name: str, documents: Sequence[Document]) -> None:
    raise ModelError("no such model here")


def mended(directory: Path, *, dry_run: bool = False) -> tuple[Repair, list[str]]:
    model = Model(directory)
    done = repair(directory, remake=model, dry_run=dry_run)
    if not dry_run:
        assert done.left == verify(directory) or done.left.findings == verify(directory).findings
    return done, model.remade


def documents(directory: Path) -> dict[tuple[int, str], tuple[str, str, str]]:
    with closing(sqlite3.connect(f"file:{directory / 'salience.db'}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        rows = connection.execute("SELECT collection_id, external_id, title, text, metadata FROM document")
        return {(collection, id_): (title, text, metadata) for collection, id_, title, text, metadata in rows}


def found(directory: Path, term: str) -> int:
    database = Database.open(directory)
    with Views(database).open("books") as view:
        count = len(view.matching({term: 1.0}, 1000).ids)
    database.close()
    return count


def test_what_is_sound_is_left_alone(sound: Path, data: Path) -> None:
    done, remade = mended(data)
    assert (done.done, done.failed, done.doubts, done.left.findings, remade) == ((), (), (), (), [])
    assert not done.needed
    assert contents(data) == contents(sound)


LOST = {  # what no other copy of is there, and what only a person can decide
    "a title", "a text", "metadata", "a text's type", "broken metadata", "no active generation", "an unknown state",
    "settings", "settings that are none", "a sparse model without use", "a job's state", "a table of others",
    "two versions",
}  # fmt: skip


@pytest.mark.parametrize("what", [*DAMAGE, *SENSELESS])
def test_whatever_verify_finds_is_mended_or_named(data: Path, what: str) -> None:
    statement = DAMAGE[what][0] if what in DAMAGE else SENSELESS[what][0]
    change(data, statement, sealed=what in SENSELESS)
    before = verify(data)
    assert before.findings
    done, _ = mended(data)
    if what in LOST:
        assert done.left.findings
    else:
        assert done.left.findings == ()
        assert done.done or done.doubts
        assert found(data, "whale") in (56 * 3, 57 * 3 - 1, 57 * 3), "book-3 and book-11 are deleted, one was replaced"


def test_a_reference_that_dangles_is_cut_and_the_other_one_to_the_same_table_stays(data: Path) -> None:
    change(
        data,
        "INSERT INTO reindexing (collection, serving_id, hidden_id, state, auto_switch, share, grace_seconds, "
        "min_recall, scanned, total, done, passages, tokens, failures, busy_seconds, created_at) "
        "SELECT name, id, 999, 'building', 1, 1.0, 0.0, 0.9, 0, 0, 0, 0, 0, 0, 0.0, 0.0 FROM collection "
        "WHERE name = 'books'",
    )
    assert not verify(data).ok
    done, _ = mended(data)
    assert done.left.ok
    with closing(sqlite3.connect(data / "salience.db")) as connection:
        serving, hidden = connection.execute("SELECT serving_id, hidden_id FROM reindexing").fetchone()
        assert hidden is None
        assert connection.execute("SELECT name FROM collection WHERE id = ?", [serving]).fetchone() == ("books",)


def test_a_dry_run_says_as_much_and_changes_nothing(data: Path) -> None:
    change(data, "DELETE FROM change WHERE seq = 3")
    change(data, "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'passage'")
    change(data, "DELETE FROM document_field WHERE document_id = 5")
    (data / SEGMENTS / row_of(data, "songs").name).unlink()
    before = contents(data)
    done, remade = mended(data, dry_run=True)
    assert [line.partition(":")[0] for line in done.done] == [
        "the counter of passage",
        "the change log of 'books'",
        "1 documents of 'books' ('book-4')",
        f"segments of 'books' ({row_of(data, 'books').name})",
        f"segments of 'songs' ({row_of(data, 'songs').name})",
    ]
    assert (contents(data), remade) == (before, [])
    assert not verify(data).ok
    done, remade = mended(data)
    assert (done.left.findings, remade) == ((), [])


def test_a_damaged_segment_is_made_anew_and_no_other(data: Path) -> None:
    kept, lost = row_of(data, "books"), row_of(data, "songs")
    for content in (b"", (data / SEGMENTS / lost.name).read_bytes()[:-1] + b"?"):
        (data / SEGMENTS / row_of(data, "songs").name).write_bytes(content)
        done, remade = mended(data)
        assert (done.left.findings, remade) == ((), [])
        assert [line.partition(" (")[0] for line in done.done] == ["segments of 'songs'"]
        assert (row_of(data, "books"), row_of(data, "songs") != lost) == (kept, True)


@pytest.mark.parametrize("what", OTHER_CONTENT)
def test_a_segment_of_other_content_is_made_anew(data: Path, what: str) -> None:
    rewrite(data, "books", OTHER_CONTENT[what][0])
    assert mended(data)[0].left.findings == ()
    assert found(data, "whale") == 57 * 3


def test_passages_that_are_in_no_segment_or_in_two(data: Path) -> None:
    execute(data, "UPDATE segment SET state = 'active'")
    done, _ = mended(data)
    assert (done.left.findings, done.done) == ((), ("all 3 segments of 'books': made anew from the database",))


def test_an_embedding_is_read_back_from_its_segment_without_a_model(data: Path, sound: Path) -> None:
    for statement in (
        "UPDATE embedding SET dense = zeroblob(32) WHERE id = 5",
        "UPDATE embedding SET sparse = x'' WHERE id = 9",
        "UPDATE embedding SET checksum = x'0000000000000000' WHERE id = 12",
        "UPDATE embedding SET learned = x'' WHERE learned IS NOT NULL AND id % 2",
    ):
        execute(data, statement)
    done = repair(data, remake=broken_model)
    assert (done.left.findings, done.failed) == ((), ())
    assert contents(data)["embedding"] == contents(sound)["embedding"]


def unsealed(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        (id_,) = connection.execute("SELECT MAX(id) FROM embedding").fetchone()
    return int(id_)


def test_one_that_is_in_no_segment_is_made_anew_by_the_model(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))
    done, remade = mended(data)
    assert (done.left.findings, remade) == ((), ["unsealed"])
    assert done.done == ("1 documents of 'books' ('unsealed'): embedded anew from their texts",)
    assert found(data, "tail") == 1


def test_without_the_model_the_rest_is_mended_and_that_is_said(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))
    execute(data, "DELETE FROM document_field WHERE document_id = 5")
    before = documents(data)
    done = repair(data, remake=broken_model)
    assert done.failed == ("1 documents of 'books' cannot be embedded anew: no such model here",)
    assert [finding.check for finding in done.left.findings] == ["embeddings"]
    assert documents(data) == before


def test_a_repair_that_was_interrupted_goes_on(data: Path) -> None:
    execute(data, "UPDATE embedding SET dense = zeroblob(32) WHERE id = ?", unsealed(data))

    def vanishes(name: str, documents: Sequence[Document]) -> None:
        if documents:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(data, remake=vanishes)
    assert any("a repair was interrupted" in finding.problem for finding in verify(data).findings)
    done, remade = mended(data)
    assert (done.left.findings, remade) == ((), ["unsealed"])


def alter_unnoticed(directory: Path, index: str, statement: str) -> None:
    """Change rows, and leave one index as it was."""
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        (root, definition, table) = connection.execute(
            "SELECT rootpage, sql, tbl_name FROM sqlite_master WHERE name = ?", [index]
        ).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", [index])
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('index', ?, ?, ?, ?)",
            [index, table, root, definition],
        )
        connection.execute(f"PRAGMA schema_version = {version + 2}")


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


def test_waiting_documents_that_cannot_be_read_are_errors_of_their_job(data: Path) -> None:
    execute(data, "UPDATE job_batch SET payload = x'5b5d' WHERE job_id = 1")
    done, _ = mended(data)
    assert done.left.findings == ()
    assert "job 1: 1 documents that waited cannot be read, and are listed as its errors" in done.done
    with closing(sqlite3.connect(data / "salience.db")) as connection:
        ((reason, failed, pending),) = connection.execute(
            "SELECT job_notice.reason, failed, pending FROM job_notice JOIN job ON job.id = job_id "
            "WHERE job_id = 1 AND code = 'storage_corrupt'"
        )
    assert ("send it again" in reason, pending) == (True, 0)
    assert failed > 1


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

    monkeypatch.setattr("store.steps.observer", stop)
    with pytest.raises(KeyboardInterrupt):
        write_anew(data)
    assert verify(data).ok
    monkeypatch.undo()
    write_anew(data)
    assert verify(data).ok
    assert documents(data) == before
    assert found(data, "whale") == 57 * 3


def flip_in(good: bytes, bit: int, directory: Path) -> None:
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    (directory / "salience.db").write_bytes(damaged)


def test_nobody_else_may_be_at_work(data: Path) -> None:
    change(data, "DELETE FROM change WHERE seq = 3")
    with (
        register(data, kind="serve", version="1", schema=SCHEMA_VERSION),
        pytest.raises(StorageBusy, match=r"in use by salience serve, process .*Stop these before it is repaired"),
    ):
        mended(data)
    with owning(data), pytest.raises(StorageBusy, match="maintained by process"):
        mended(data)
    assert not verify(data).ok
    assert mended(data)[0].left.ok


def test_another_schema_and_nothing_at_all(tmp_path: Path) -> None:
    write_version(tmp_path / "old", "0003")
    with pytest.raises(StorageError, match=r"has the schema 0003; upgrade it .* salience migrate"):
        mended(tmp_path / "old")
    with pytest.raises(StorageError, match="there is no data directory"):
        mended(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "salience.db").write_bytes(b"no database at all " * 100)
    done, _ = mended(tmp_path)
    assert (done.done, [finding.check for finding in done.left.findings]) == ((), ["file"])
    assert (tmp_path / "salience.db").read_bytes() == b"no database at all " * 100


def test_a_damaged_log_is_cut_and_what_is_lost_is_said(data: Path, tmp_path: Path) -> None:
    database = Database.open(data)
    with database.read() as session:
        books = get_collection(session, "books")
    for i in range(8):
        store(database, books, [Item(id=f"late-{i}", text=f"late words {i}")])
    killed = tmp_path / "killed"
    shutil.copytree(data, killed)
    database.close()
    log = killed / "salience.db-wal"
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    log.write_bytes(damaged)
    (finding,) = verify(killed).findings
    assert (finding.check, finding.where) == ("log", "salience.db-wal")
    done, _ = mended(killed, dry_run=True)
    assert (log.read_bytes(), len(done.left.findings)) == (bytes(damaged), 1)
    assert "committed transactions behind that, at least, are given up" in done.done[0]
    done, _ = mended(killed)
    assert (done.left.findings, len(done.done)) == ((), 1)
    assert 0 < found(killed, "late") < 8
