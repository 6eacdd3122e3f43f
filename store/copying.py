"""Copying a data directory while others write to it: one committed state, whole on the disk before it has its name."""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from core.errors import Conflict, StorageCorrupt
from core.syncing import make_directories, sync, sync_tree
from store.directory import DATABASE_NAME, KEPT_FOLDERS, SEGMENTS
from store.failpoints import reached
from store.faults import database_errors, file_errors
from store.indexnames import new_name
from store.readonly import open_read_only
from store.wal import new_identity

_PAGES_AT_ONCE = 1_000  # between two reports of progress

_log = logging.getLogger(__name__)

CopyProgress = Callable[[int, int], None]  # pages copied, and of how many


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, that becomes `target` when the block ends, and is gone when it raises.

    Of two that make the same target at once, one gets it. What a process leaves behind that is killed meanwhile is
    hidden, and named `.TARGET.unfinished-...`.

    Raises Conflict where `target` is there already.
    """
    _check_absent(target)
    with file_errors(target, "backup"):
        make_directories(target.parent)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.unfinished-", dir=target.parent))
    named = False
    try:
        yield unfinished
        with file_errors(target, "backup"):
            reached("directory.filled")
            sync_tree(unfinished)
            reached("directory.synced")
            _check_absent(target)
            try:
                unfinished.rename(target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                raise Conflict(f"{target} was made by another backup meanwhile") from error
            named = True
            reached("directory.renamed")
            sync(target.parent)
            reached("directory.durable")
    except BaseException:
        if named:  # not removed under its name: what is left of it, should this be killed, is no backup
            with suppress(OSError):  # the first error is the one to tell
                target.rename(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def copy_directory(source: Path, target: Path, on_progress: CopyProgress | None = None) -> None:
    """Copy the database, its segments, and the folders that belong to it, into the directory `target`.

    Page by page, damage included: `verify` finds in the copy what it finds in the source. (A copy that SQLite writes
    anew, by VACUUM INTO, has its indexes made from the tables, and damage would look sound.) Of a generation that lacks
    a segment's file the copy has no segments at all: they are made anew from the database. What an engine elsewhere
    holds is the source's: the copy has none of it there, and brings it there anew under other names.

    Raises StorageError for what is wrong with the source, StorageFull, StorageReadOnly.
    """
    with (
        open_read_only(source) as connection,
        _one_state(connection),
        database_errors(target, "backup"),
        closing(sqlite3.connect(target / DATABASE_NAME)) as copy,
    ):
        reached("copy.begun")
        # At once: whoever merges them meanwhile keeps the files of this state for a while only.
        lacking = _copy_segments(connection, source, target)
        reached("copy.segments_written")
        connection.backup(copy, pages=_PAGES_AT_ONCE, progress=_report(on_progress))
        reached("copy.pages_written")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # all in one file, which can be read from anywhere
        copy.execute(f"PRAGMA user_version = {new_identity()}")  # the original's log does not belong to it
        with copy:
            if lacking:
                copy.executemany("DELETE FROM segment WHERE generation_id = ?", [(id_,) for id_ in lacking])
            _part_from_engines(copy)
    reached("copy.database_written")
    with file_errors(target, "backup"):
        for name in KEPT_FOLDERS:
            if (source / name).is_dir():
                _copy_folder(source / name, target / name)
    reached("copy.folders_written")


def copied_bytes(source: Path) -> int:
    """About as much as `copy_directory` writes. Raises StorageError."""
    with open_read_only(source) as connection, file_errors(source):
        segments = [source / SEGMENTS / name for _, name in _active_segments(connection)]
        folders = [file for name in KEPT_FOLDERS for file in (source / name).rglob("*")]
        files = [*source.glob(f"{DATABASE_NAME}*"), *segments, *folders]
        return sum(file.stat().st_size for file in files if file.is_file())


def check_structure(directory: Path) -> None:
    """What can be checked in a database of any version. Raises StorageCorrupt."""
    with open_read_only(directory) as connection:
        problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise StorageCorrupt(f"{directory / DATABASE_NAME} is damaged ({problem}); restore it from a backup")
        reference = connection.execute("PRAGMA foreign_key_check").fetchone()
        if reference is not None:
            raise StorageCorrupt(
                f"{directory / DATABASE_NAME} is damaged (a row of {reference[0]} refers to one of {reference[2]} that "
                "is not there); restore it from a backup"
            )


def _check_absent(target: Path) -> None:
    """Raises Conflict where `target` is there."""
    if target.exists() or target.is_symlink():
        raise Conflict(f"{target} is there already; a backup is never written over: name a new directory")


def _copy_segments(connection: sqlite3.Connection, source: Path, target: Path) -> set[int]:
    """Copy the files of the active segments; the generations of those that are not there."""
    lacking: set[int] = set()
    with file_errors(target, "backup"):
        for generation, name in _active_segments(connection):
            (target / SEGMENTS).mkdir(exist_ok=True)
            try:
                shutil.copyfile(source / SEGMENTS / name, target / SEGMENTS / name)
            except FileNotFoundError:
                _log.warning("segment file %s is not there: the copy does without", source / SEGMENTS / name)
                lacking.add(generation)
    return lacking


def _active_segments(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """Generation and file of each."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'segment'").fetchone():
        return []  # an older schema
    return connection.execute("SELECT generation_id, name FROM segment WHERE state = 'active'").fetchall()


def _copy_folder(source: Path, target: Path) -> None:
    """File by file: what `shutil.copytree` raises no longer says that the disk is full."""
    target.mkdir()
    for path in source.iterdir():
        if path.name.startswith(".") or path.suffix == ".tmp":
            continue  # files that are being written have names of their own until they are whole
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def _part_from_engines(copy: sqlite3.Connection) -> None:
    """Of two directories that write under one name, each would remove and lack what the other needs.

    Where the table is damaged it is left so, and found: written to, it would witness for what it holds.
    """
    if not copy.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'passage_index'").fetchone():
        return  # an older schema
    if copy.execute("PRAGMA integrity_check(passage_index)").fetchall() != [("ok",)]:
        return
    copy.execute("DELETE FROM passage_index WHERE generation_id IS NULL")  # the source removes those
    for (id_,) in copy.execute("SELECT id FROM passage_index").fetchall():
        copy.execute("UPDATE passage_index SET name = ?, seq = 0, removed_to = 0 WHERE id = ?", (new_name(), id_))


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction: the copy keeps to one state, and does not begin anew whenever others write."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # only now it has begun
        yield
    finally:
        connection.execute("ROLLBACK")


def _report(on_progress: CopyProgress | None) -> Callable[[int, int, int], None]:
    def report(status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - remaining, total)

    return report
