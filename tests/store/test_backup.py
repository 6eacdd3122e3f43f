"""Backup and restore: one committed state, whole or not at all, never over anything."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import filelock
import pytest

from core.errors import Conflict, SalienceError, StorageBusy, StorageCorrupt, StorageError
from store import Database, Views
from store.backup import backup, restore
from store.catalog import get_collection
from store.directory import SEGMENTS
from store.segments.upkeep import compact, maintain, remove_retired
from store.verify import verify
from tests.store.library import Item
from tests.store.stocked import copied, stock, store

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["projections", "remote-models", "segments"]


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stocked") / "data"
    stock(directory)
    (directory / "projections").mkdir()
    (directory / "projections" / "space-128.safetensors").write_bytes(b"numbers")
    (directory / "projections" / "space-64.safetensors.17.tmp").write_bytes(b"half")
    (directory / "remote-models").mkdir()
    (directory / "remote-models" / "0123.json").write_text("{}")
    (directory / "backups").mkdir()
    return directory


@pytest.fixture
def data(stocked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stocked, tmp_path / "data"))


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def active_files(directory: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{directory / 'salience.db'}?mode=ro", uri=True)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM segment WHERE state = 'active'")]


def damage(directory: Path) -> None:
    file = directory / "salience.db"
    content = bytearray(file.read_bytes())
    content[content.index(b"title of book-7")] ^= 1
    file.write_bytes(content)


def test_a_backup_holds_all_that_belongs_to_the_collections(data: Path, tmp_path: Path) -> None:
    database = Database.open(data)  # with a log beside the file
    done = backup(data, tmp_path / "deep" / "backup")
    database.close()
    assert (done.ok, done.checked["documents"]) == (True, 69)
    assert copied(tmp_path / "deep" / "backup") == copied(data)
    kept = ["projections/space-128.safetensors", "remote-models/0123.json", "salience.db"]
    kept += [f"segments/{name}" for name in active_files(data)]
    assert files(tmp_path / "deep" / "backup") == sorted(kept)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["backup"]


def test_what_was_restored_is_what_was_backed_up(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "backup")
    done = restore(tmp_path / "backup", tmp_path / "new" / "restored")
    assert done.checked["documents"] == 69
    assert copied(tmp_path / "new" / "restored") == copied(data)
    database = Database.open(tmp_path / "new" / "restored")
    with Views(database).open("books") as view:
        assert view.matching({"replaced": 1.0}, 5).ids.size == 1
    database.close()
    assert (tmp_path / "new" / "restored" / "remote-models" / "0123.json").read_text() == "{}"
    assert verify(tmp_path / "backup").ok, "restoring leaves the backup as it was"
    assert (tmp_path / "backup" / "salience.db-wal").exists() is False


_WRITER = """
import sys
from pathlib import Path
from store import Database
from tests.store.library import Item, create
from tests.store.stocked import store
database = Database.open(Path(sys.argv[1]))
collection = create(database)
for i in range(100_000):
    words = "\\n".join(f"some words {i} {line}" for line in range(20))
    items = [Item(id=f"a{i}", text=words, metadata={"n": i}), Item(id=f"b{i}", text=words, metadata={"n": i})]
    store(database, collection, items, delete=[f"a{i - 50}", f"b{i - 50}"])
    print(i, flush=True)
"""


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A data directory that another process writes to: with commit i come a<i> and b<i>, and a<i-50>, b<i-50> go."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "written")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while child.stdout.readline() != "60\n":
            assert child.poll() is None
        drain = threading.Thread(target=child.stdout.read)
        drain.start()
        yield tmp_path / "written"
        child.kill()
        drain.join(60)


def numbers(directory: Path) -> tuple[set[int], set[int]]:
    """Those of the documents a<i>, and those of b<i>."""
    with closing(sqlite3.connect(f"file:{directory / 'salience.db'}?mode=ro", uri=True)) as connection:
        ids = [id_ for (id_,) in connection.execute("SELECT external_id FROM document")]
    return {int(id_[1:]) for id_ in ids if id_[0] == "a"}, {int(id_[1:]) for id_ in ids if id_[0] == "b"}


def test_a_backup_while_another_process_commits_is_one_of_its_states(written: Path, tmp_path: Path) -> None:
    newest = []
    for number in range(3):
        target = tmp_path / f"backup-{number}"
        seen: list[tuple[int, int]] = []
        done = backup(written, target, on_copy=lambda copied, total, seen=seen: seen.append((copied, total)))  # type: ignore[misc]
        assert done.ok
        assert seen[-1][0] == seen[-1][1] > 0
        first, second = numbers(target)
        assert first == second == set(range(max(first) - 49, max(first) + 1))
        newest.append(max(first))
    assert newest == sorted(set(newest)), "the writer was at work meanwhile"
    restore(tmp_path / "backup-1", tmp_path / "restored")
    assert max(numbers(tmp_path / "restored")[0]) == newest[1]


def test_two_backups_at_once(written: Path, tmp_path: Path) -> None:
    """To two directories both are made; to the same one, one is."""
    outcomes: list[object] = []

    def make(target: Path) -> None:
        try:
            outcomes.append(backup(written, target).ok)
        except SalienceError as error:
            outcomes.append(type(error))

    for names, expected in ((("one", "two"), [True, True]), (("same", "same", "same"), [True, Conflict, Conflict])):
        outcomes.clear()
        threads = [threading.Thread(target=make, args=[tmp_path / "backups" / name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(outcomes, key=str, reverse=True) == sorted(expected, key=str, reverse=True)
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == ["one", "same", "two"]
    assert verify(tmp_path / "backups" / "same").ok


@pytest.mark.parametrize("kind", ["directory", "empty directory", "file", "dangling link"])
def test_a_backup_is_never_written_over_anything(data: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    match kind:
        case "directory":
            target.mkdir()
            (target / "mine.txt").write_text("mine")
        case "empty directory":
            target.mkdir()
        case "file":
            target.write_text("mine")
        case _:
            target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict, match="is there already"):
        backup(data, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "target"]
    assert kind != "directory" or files(target) == ["mine.txt"]


def test_a_backup_does_not_lie_within_what_it_backs_up(data: Path) -> None:
    with pytest.raises(StorageError, match="lies within the data directory"):
        backup(data, data / "backups" / "mine")


def test_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no salience\.db"):
        backup(tmp_path / "none", tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_without_a_lost_segment_is_a_sound_one_and_is_searched(data: Path, tmp_path: Path) -> None:
    (data / SEGMENTS / active_files(data)[0]).unlink()
    assert not verify(data).ok
    assert backup(data, tmp_path / "backup").ok
    assert active_files(tmp_path / "backup") == active_files(data)[1:], "the other collection keeps its own"
    restore(tmp_path / "backup", tmp_path / "restored")
    database = Database.open(tmp_path / "restored")
    with Views(database).open("books") as view:
        assert view.matching({"whale": 1.0}, 500).ids.size == 57 * 3
    while maintain(database, grace_seconds=0.0):
        pass
    database.close()
    assert verify(tmp_path / "restored").ok


def test_segments_that_are_merged_while_they_are_copied(data: Path, tmp_path: Path) -> None:
    """The backup holds the state of its beginning, whose files are kept for a while."""
    database = Database.open(data)
    with database.read() as session:
        books = get_collection(session, "books")
    before = active_files(data)

    def merge_meanwhile(done: int, total: int) -> None:
        store(database, books, [Item(id="late", text="late words")])
        compact(database, books)
        remove_retired(database, grace_seconds=0.0)

    assert backup(data, tmp_path / "backup", on_copy=merge_meanwhile).ok
    assert active_files(tmp_path / "backup") == before
    assert not (data / SEGMENTS / before[0]).exists()
    database.close()


def test_a_damaged_segment_gives_no_backup(data: Path, tmp_path: Path) -> None:
    with (data / SEGMENTS / active_files(data)[0]).open("r+b") as file:
        file.write(b"?")
    with pytest.raises(StorageCorrupt, match=r"its header is not what was written; salience verify shows"):
        backup(data, tmp_path / "backup")


def test_a_damaged_directory_gives_no_backup(data: Path, tmp_path: Path) -> None:
    damage(data)
    with pytest.raises(StorageCorrupt, match=r"data is damaged: document 'book-7' of 'books': its title"):
        backup(data, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from store.backup import backup, restore
def kill(*progress):
    os.kill(os.getpid(), signal.SIGKILL)
call = {"backup": backup, "restore": restore}[sys.argv[1]]
call(Path(sys.argv[2]), Path(sys.argv[3]), on_copy=kill)
"""


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_what_was_killed_can_be_done_again(data: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "target" / "new"
    subprocess.run([sys.executable, "-c", _KILLED, what, str(data), str(target)], check=False, cwd=ROOT, timeout=60)
    assert not (target / "salience.db").exists(), "nothing that could be taken for a whole one"
    assert {"backup": backup, "restore": restore}[what](data, target).ok
    assert copied(target) == copied(data)
    assert what == "backup" or not (target / ".restoring").exists()


_KILLED_WHILE_MOVING = """
import os, signal, sys
from pathlib import Path
from store.backup import restore
moves, rename = iter(range(9)), Path.rename
def move(self, target):
    if next(moves) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = move
restore(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_restore_that_was_killed_while_its_parts_moved_in(data: Path, tmp_path: Path, moves: int) -> None:
    target = tmp_path / "new"
    command = [sys.executable, "-c", _KILLED_WHILE_MOVING, str(data), str(target), str(moves)]
    assert subprocess.run(command, check=False, cwd=ROOT, timeout=60).returncode == -9
    assert not (target / "salience.db").exists(), "the database comes last"
    assert len([name for name in FOLDERS if (target / name).exists()]) == moves
    restore(data, target)
    assert copied(target) == copied(data)
    assert sorted(path.name for path in target.iterdir() if path.is_dir()) == FOLDERS


@pytest.mark.parametrize("name", ["salience.db", "thesis.txt", "projections", ".hidden"])
def test_a_restore_never_writes_into_what_is_in_use(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / name).touch()
    with pytest.raises(Conflict, match=rf"is not empty \({name}\)"):
        restore(data, tmp_path / "used")
    assert files(tmp_path / "used") == [name]
    with pytest.raises(Conflict, match="is a file"):
        restore(data, tmp_path / "used" / name)


def test_an_empty_directory_will_do(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    restore(data, tmp_path / "disk")
    assert copied(tmp_path / "disk") == copied(data)


def test_a_damaged_backup_is_not_restored(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "backup")
    damage(tmp_path / "backup")
    with pytest.raises(StorageCorrupt, match=r"backup is damaged: document 'book-7'"):
        restore(tmp_path / "backup", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_nobody_opens_what_is_being_restored(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "restored"
    busy: list[str] = []

    def open_meanwhile(done: int, total: int) -> None:
        with pytest.raises(StorageBusy):
            Database.open(target, busy_timeout_ms=20)
        busy.append("open")
        monkeypatch.setattr("store.backup._LOCK_SECONDS", 0.02)
        with pytest.raises(StorageBusy):
            restore(data, target)
        busy.append("restore")

    restore(data, target, on_copy=open_meanwhile)
    assert busy[:2] == ["open", "restore"]
    assert copied(target) == copied(data)


def test_a_restore_waits_for_whoever_is_opening(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.backup._LOCK_SECONDS", 0.02)
    (tmp_path / "new").mkdir()
    with filelock.FileLock(tmp_path / "new" / "migrate.lock"), pytest.raises(StorageBusy):
        restore(data, tmp_path / "new")
