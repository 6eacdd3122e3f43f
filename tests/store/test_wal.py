"""The write-ahead log before it is opened: what SQLite would drop without a word is found, and nothing else."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import StorageBusy, StorageCorrupt
from store import Database, Views, wal
from store.copying import copy_directory
from store.readonly import open_read_only
from store.statistics import statistics
from store.wal import check_log, cut_log, lost_transactions
from tests.store.children import ROOT
from tests.store.library import Item, create, put

COMMITS = 25
CHANCE = random.Random(17)


def rows_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM line").fetchone()[0])


def connect(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(directory / "salience.db", isolation_level=None, check_same_thread=False)
    for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}").fetchone()
    return connection


def write(connection: sqlite3.Connection, commits: int = COMMITS) -> None:
    for _ in range(commits):
        connection.execute("INSERT INTO line (text) VALUES (?)", ["x" * CHANCE.randint(10, 30_000)])


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A directory whose table is in the database and whose rows are in the log, as a killed process leaves it."""
    with closing(connect(tmp_path)) as connection:
        connection.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        write(connection)
        yield copy_of(tmp_path, tmp_path / "killed")


def copy_of(directory: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("salience.db", "salience.db-wal"):
        shutil.copy(directory / name, target / name)
    return target


def rows_that_sqlite_shows(directory: Path, scratch: Path) -> int:
    with closing(connect(copy_of(directory, scratch))) as connection:
        return rows_of(connection)


def test_a_whole_log_is_fine(written: Path, tmp_path: Path) -> None:
    check_log(written)
    assert rows_that_sqlite_shows(written, tmp_path / "scratch") == COMMITS


def test_a_flipped_bit_that_costs_acknowledged_commits_is_found(written: Path, tmp_path: Path) -> None:
    """Against SQLite itself. The last commit alone may go unsaid: a power cut looks the same."""
    whole = (written / "salience.db-wal").read_bytes()
    lost_most = found = 0
    places = [CHANCE.randrange(8, 32) for _ in range(12)] + [CHANCE.randrange(len(whole)) for _ in range(70)]
    for turn, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << CHANCE.randrange(8)
        (written / "salience.db-wal").write_bytes(damaged)
        lost = COMMITS - rows_that_sqlite_shows(written, tmp_path / f"scratch{turn}")
        shutil.rmtree(tmp_path / f"scratch{turn}")
        try:
            check_log(written)
        except StorageCorrupt as error:
            found += 1
            said = re.search(r"drop (\d+) committed transactions", error.message)
            assert said, place
            assert int(said[1]) - lost in (0, 1), place  # a flip can make a commit of a frame that is none
        else:
            assert lost <= 1, place
        lost_most = max(lost_most, lost)
    assert lost_most == COMMITS
    assert found > 60


def test_what_a_power_cut_leaves_is_fine(written: Path, tmp_path: Path) -> None:
    log = written / "salience.db-wal"
    whole = log.read_bytes()
    for turn in range(20):
        log.write_bytes(whole[: CHANCE.randrange(len(whole))])
        check_log(written)
        assert rows_that_sqlite_shows(written, tmp_path / f"scratch{turn}") < COMMITS


def test_the_last_transaction_in_any_order_is_fine(written: Path) -> None:
    """It was not synced: any of its frames may be missing, the first ones, too."""
    log = written / "salience.db-wal"
    with closing(connect(written)) as connection:
        write(connection, 1)
        before = log.stat().st_size
        connection.execute("INSERT INTO line (text) VALUES (?)", ["y" * 60_000])
        content = bytearray(log.read_bytes())
    content[before : before + 8192] = bytes(8192)
    log.write_bytes(content)
    check_log(written)


def test_frames_of_earlier_rounds_and_of_rolled_back_transactions_do_not_count(written: Path) -> None:
    with closing(connect(written)) as connection:
        for _ in range(3):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            write(connection, 4)  # begins the log anew, over the frames of before
            check_log(written)
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN")
        write(connection, 20)  # spills into the log
        connection.execute("ROLLBACK")
        write(connection, 1)
        check_log(written)
        expected = rows_of(connection)
        left = copy_of(written, written / "killed")
    check_log(left)
    with closing(connect(left)) as connection:
        assert rows_of(connection) == expected


def test_a_log_that_is_being_written_is_fine(tmp_path: Path) -> None:
    with closing(connect(tmp_path)) as connection:
        connection.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT)")
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                write(connection, 30)
                connection.execute(f"PRAGMA wal_checkpoint({CHANCE.choice(['PASSIVE', 'TRUNCATE'])})").fetchone()

        writer = threading.Thread(target=work)
        writer.start()
        try:
            for _ in range(150):
                check_log(tmp_path)
        finally:
            done.set()
            writer.join(60)


def test_damage_counts_when_it_is_seen_twice(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer may be at the log: what is half written is whole at the next look, or ends elsewhere."""
    monkeypatch.setattr(wal, "_PAUSE_SECONDS", 0.0)
    sound = wal._Log(header=b"1", frames=9, intact=9, sound_bytes=9, lost=0, identities=frozenset())
    torn, torn_later = (replace(sound, intact=intact, lost=1) for intact in (3, 5))
    anew = replace(torn_later, header=b"2")

    def lost(*looks: wal._Log | None) -> int:
        seen = iter(looks)
        monkeypatch.setattr(wal, "_scan", lambda database, log: next(seen))
        found = lost_transactions(written)
        assert next(seen, "all") == "all"
        return found

    assert lost(sound) == lost(torn, sound) == lost(torn, torn_later, sound) == lost(torn_later, anew, sound) == 0
    assert lost(torn, None) == 0, "closed by its last process meanwhile"
    assert lost(torn, torn) == lost(torn, torn_later, torn_later) == lost(torn_later, anew, anew) == 1


def test_a_log_without_its_database_is_not_deleted(written: Path) -> None:
    log = (written / "salience.db-wal").read_bytes()
    for database in (None, b""):
        (written / "salience.db").unlink()
        if database is not None:
            (written / "salience.db").write_bytes(database)
        with pytest.raises(StorageCorrupt, match=r"holds the write-ahead log .* and no"):
            Database.open(written)
        (written / "salience.db").touch()
    assert (written / "salience.db-wal").read_bytes() == log


def test_the_shared_memory_of_a_killed_process_alone_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "salience.db-shm").write_bytes(b"\xff" * 32768)
    opened = Database.open(tmp_path)
    create(opened)
    opened.close()


def test_the_log_of_before_beside_a_restored_backup_is_refused(tmp_path: Path) -> None:
    """By hand, as people do: salience.db is put back, and the log of the newer state still lies there."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    database = Database.open(data)
    collection = create(database)
    put(database, collection, *(Item(id=str(i), text=f"before {i}") for i in range(300)))
    backup.mkdir()
    copy_directory(data, backup)
    database.checkpoint()
    put(database, collection, *(Item(id=str(i), text=f"after {i} " * 50) for i in range(300)))
    log = (data / "salience.db-wal").read_bytes()
    database.close()
    (data / "salience.db-wal").write_bytes(log)
    shutil.copy(backup / "salience.db", data / "salience.db")
    with pytest.raises(StorageCorrupt, match="belongs to another database"):
        Database.open(data)
    (data / "salience.db-wal").unlink()
    opened = Database.open(data)
    with Views(opened).open("books") as view:
        assert view.passage_count == 300
    opened.close()


def damage_the_middle(directory: Path) -> None:
    log = directory / "salience.db-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)


def test_a_log_that_is_damaged_in_its_middle_is_refused_as_it_is_and_can_be_cut(written: Path, tmp_path: Path) -> None:
    damage_the_middle(written)
    before = (written / "salience.db-wal").read_bytes()
    with pytest.raises(StorageCorrupt, match=r"damaged at frame \d+ of \d+; SQLite would drop \d+ committed"):
        Database.open(written)
    assert (written / "salience.db-wal").read_bytes() == before
    expected = rows_that_sqlite_shows(written, tmp_path / "scratch")
    assert cut_log(written) == COMMITS - expected
    check_log(written)
    with closing(connect(written)) as connection:
        assert rows_of(connection) == expected
    assert cut_log(written) == 0


_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM line LIMIT 1").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_log_that_others_read_is_not_cut(written: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(written / "salience.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        damage_the_middle(written)
        with pytest.raises(StorageBusy, match="another process has it open"):
            cut_log(written)
        child.kill()


_OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from store import Database
Database.open(Path(sys.argv[1])).close()
"""


def test_looking_at_it_drops_no_lock_of_a_database_that_is_open(tmp_path: Path) -> None:
    """Without its locks, another process that closes the database takes itself for the last one and deletes the log."""
    database = Database.open(tmp_path)
    collection = create(database)
    put(database, collection, Item(id="before", text="whale"))
    with open_read_only(tmp_path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM document").fetchone() == (1,)
    statistics(tmp_path)
    subprocess.run([sys.executable, "-c", _OPEN_AND_CLOSE, str(tmp_path)], check=True, cwd=ROOT, timeout=60)
    assert database.log_bytes() > 0
    put(database, collection, Item(id="after", text="whale"))
    with Views(database).open("books") as view:
        assert view.passage_count == 2
    database.close()


def test_no_reader_passes_over_a_damaged_log(written: Path) -> None:
    """A backup, or a verification, of what SQLite leaves of it would look sound."""
    damage_the_middle(written)
    with pytest.raises(StorageCorrupt, match="would drop"), open_read_only(written):
        pass
