"""Copy one committed state of a data directory while others write to it, and name the copy once it is on disk."""

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

_PAGES_AT_ONCE = 1_000  # between two progress reports

_log = logging.getLogger(__name__)

CopyProgress = Callable[[int, int], None]  # pages copied, pages in total


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A directory to fill. It is renamed to `target` when the block ends, and removed when the block raises.

    If two processes make the same target at once, one of them gets it. A process that is killed meanwhile leaves a
    hidden directory named `.TARGET.unfinished-...`.

    Raises Conflict where `target` exists.
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
        if named:  # renamed before it is removed: a half-removed directory must not look like a backup
            with suppress(OSError):  # the first error is the one to report
                target.rename(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def copy_directory(source: Path, target: Path, on_progress: CopyProgress | None = None) -> None:
    """Copy the database, its segments, and the folders that belong to it into the directory `target`.

    The database is copied page by page, damage included: `verify` finds in the copy what it finds in the source.
    (VACUUM INTO would rebuild the indexes from the tables, and hide damage.) If a segment file of a generation is
    missing, the copy has no segments of that generation; they are rebuilt from the database. Data in an external
    engine is not copied: the copy replicates its passages there anew under other names.

    Raises StorageError for problems of the source, StorageFull, StorageReadOnly.
    """
    with (
        open_read_only(source) as connection,
        _one_state(connection),
        database_errors(target, "backup"),
        closing(sqlite3.connect(target / DATABASE_NAME)) as copy,
    ):
        reached("copy.begun")
        # First: when segments are merged meanwhile, the files of this state are kept only for a while.
        lacking = _copy_segments(connection, source, target)
        reached("copy.segments_written")
        connection.backup(copy, pages=_PAGES_AT_ONCE, progress=_report(on_progress))
        reached("copy.pages_written")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # a single file, readable from anywhere
        copy.execute(f"PRAGMA user_version = {new_identity()}")  # so that the original's log does not match it
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
    """Approximate number of bytes that `copy_directory` writes. Raises StorageError."""
    with open_read_only(source) as connection, file_errors(source):
        segments = [source / SEGMENTS / name for _, name in _active_segments(connection)]
        folders = [file for name in KEPT_FOLDERS for file in (source / name).rglob("*")]
        files = [*source.glob(f"{DATABASE_NAME}*"), *segments, *folders]
        return sum(file.stat().st_size for file in files if file.is_file())


def check_structure(directory: Path) -> None:
    """Check what can be checked in a database of any schema version. Raises StorageCorrupt."""
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
    """Raises Conflict where `target` exists."""
    if target.exists() or target.is_symlink():
        raise Conflict(f"{target} is there already; a backup is never written over: name a new directory")


def _copy_segments(connection: sqlite3.Connection, source: Path, target: Path) -> set[int]:
    """Copy the files of the active segments; returns the generations with a missing file."""
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
    """Generation id and file name of each active segment."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'segment'").fetchone():
        return []  # an older schema
    return connection.execute("SELECT generation_id, name FROM segment WHERE state = 'active'").fetchall()


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a folder file by file: the errors of `shutil.copytree` do not say that the disk is full."""
    target.mkdir()
    for path in source.iterdir():
        if path.name.startswith(".") or path.suffix == ".tmp":
            continue  # a file that is still being written has a temporary name
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def _part_from_engines(copy: sqlite3.Connection) -> None:
    """Give the copy its own names in external engines, where it has nothing yet.

    Two directories that write under one name would each remove what the other needs. A damaged table is left alone, so
    that the damage is found: writing to it would copy the damaged values into its indexes.
    """
    if not copy.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'passage_index'").fetchone():
        return  # an older schema
    if copy.execute("PRAGMA integrity_check(passage_index)").fetchall() != [("ok",)]:
        return
    copy.execute("DELETE FROM passage_index WHERE generation_id IS NULL")  # the source drops those from the engine
    for (id_,) in copy.execute("SELECT id FROM passage_index").fetchall():
        copy.execute("UPDATE passage_index SET name = ?, seq = 0, removed_to = 0 WHERE id = ?", (new_name(), id_))


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """A read transaction, so that the copy is of one state and does not start over whenever others write."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # the first read starts the transaction
        yield
    finally:
        connection.execute("ROLLBACK")


def _report(on_progress: CopyProgress | None) -> Callable[[int, int, int], None]:
    def report(status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - remaining, total)

    return report
