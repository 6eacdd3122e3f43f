"""repair: what can be made anew is, what cannot is named, and nothing that is sound is touched."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StorageBusy, StorageError
from store import Database
from store.catalog import delete_collection, get_collection
from store.directory import SEGMENTS
from store.maintenance import owning
from store.migrate import SCHEMA_VERSION
from store.processes import register
from store.verify import verify
from tests.store.damage import DAMAGE, SENSELESS, alter_unnoticed, change
from tests.store.library import Item
from tests.store.repair.mending import found, mended
from tests.store.segment_damage import execute, row_of
from tests.store.stocked import contents, store
from tests.store.versions import write_version


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


@pytest.mark.parametrize("fields_too", [True, False])
@pytest.mark.parametrize("disputed", [True, False])
def test_what_a_deleted_collection_left_is_removed_and_not_mended(data: Path, disputed: bool, fields_too: bool) -> None:
    with closing(Database.open(data)) as database, database.write() as session:
        delete_collection(session, "books")
    if disputed:
        alter_unnoticed(data, "passage_sha", "UPDATE passage SET sha = zeroblob(32) WHERE id = 9")
    if fields_too or not disputed:
        change(data, "DELETE FROM document_field WHERE document_id = 5")
    assert {finding.collection for finding in verify(data).findings} <= {"books!1", None}
    planned, _ = mended(data, dry_run=True)
    done, remade = mended(data)
    assert "what deleted collections left: removed" in done.done
    assert (len(done.done), done.failed, done.left.findings, remade) == (1 + disputed, (), (), [])
    assert (planned.done, planned.failed) == (done.done, ())


@pytest.mark.parametrize("damage", ["UPDATE embedding SET dense = zeroblob(3)", "UPDATE document SET content_sha = ''"])
def test_a_dry_run_leaves_to_go_what_a_deleted_collection_left(data: Path, damage: str) -> None:
    """Beside one that stays, and is named."""
    with closing(Database.open(data)) as database, database.write() as session:
        delete_collection(session, "books")
    change(data, damage)
    before, found = contents(data), verify(data).findings
    done, _ = mended(data, dry_run=True)
    assert {finding.collection for finding in found} >= {"books!1", "songs"}
    assert "what deleted collections left: removed" in done.done
    assert not any("books" in line for line in (*done.done, *done.failed)), done
    assert any("songs" in line for line in done.done)
    assert (done.left.findings, contents(data)) == (found, before)


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


def test_what_is_said_of_a_job_that_was_given_up_is_not_counted_anew(data: Path) -> None:
    """It goes piece by piece; the counts stay until the job goes, too."""
    change(data, "UPDATE job SET state = 'cancelled' WHERE id = 1")
    change(data, "DELETE FROM job_notice WHERE id = 1")
    assert verify(data).ok
    change(data, "UPDATE job SET created = 40 WHERE id = 3")
    done, _ = mended(data)
    assert (len(done.done), done.left.findings) == (1, ())
    assert done.done[0].startswith("job 3: counted anew")
    change(data, "UPDATE job SET failed = 0, total = total - 2 WHERE id = 1")
    done, _ = mended(data)
    assert (done.done, done.left.findings) == (("job 1: counted anew (total 2 to 3, failed 0 to 1)",), ())


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
