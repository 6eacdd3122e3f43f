"""Backup and restore. A backup is a data directory that nobody writes to: what belongs to the collections, no more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from core.errors import Conflict, StorageError
from core.syncing import make_directories, sync, sync_tree
from store.copying import CopyProgress, copy_directory, new_directory
from store.directory import DATABASE_NAME, KEPT_FOLDERS, MIGRATE_LOCK, SEGMENTS
from store.faults import file_errors
from store.leftovers import remove_unfinished
from store.steps import reached
from store.verify import Progress, Recheck, Verification, check

_UNFINISHED = ".restoring"  # within the data directory; a restore that was killed leaves it, and the next one clears it
_LOCK_SECONDS = 10.0
_FOLDERS = (*KEPT_FOLDERS, SEGMENTS)


def backup(
    data_dir: Path,
    target: Path,
    *,
    recheck: Recheck | None = None,
    on_copy: CopyProgress | None = None,
    on_verify: Progress | None = None,
) -> Verification:
    """Copy the state of this moment to the new directory `target`, and verify the copy. Others may go on writing.

    Raises Conflict where `target` is there already, StorageFull, StorageReadOnly, StorageCorrupt where the copy is
    damaged, which means that the source is. After any of them there is no `target`.
    """
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise StorageError(f"{target} lies within the data directory {data_dir}; name a directory elsewhere")
    if target.parent.is_dir():
        with file_errors(target, "backup"):
            remove_unfinished(target.parent)  # of backups that were killed a day ago or more
    with new_directory(target) as unfinished:
        copy_directory(data_dir, unfinished, on_copy)
        return check(unfinished, name=data_dir, recheck=recheck, on_progress=on_verify)


def restore(
    source: Path,
    data_dir: Path,
    *,
    recheck: Recheck | None = None,
    on_copy: CopyProgress | None = None,
    on_verify: Progress | None = None,
) -> Verification:
    """Verify the backup `source`, copy it to `data_dir`, and verify the copy.

    A backup of an older schema is restored as it is, and upgraded when it is opened.

    Raises Conflict where `data_dir` holds anything, StorageBusy where another process is opening it, StorageCorrupt
    where the backup is damaged, StorageFull, StorageReadOnly. After any of them `data_dir` holds nothing but a lock.
    """
    _check_empty(data_dir)
    check(source, recheck=recheck, on_progress=on_verify)
    with _unfinished(data_dir) as unfinished:
        copy_directory(source, unfinished, on_copy)
        done = check(unfinished, name=data_dir, recheck=recheck, on_progress=on_verify)
        with file_errors(data_dir):
            sync_tree(unfinished)
            reached("restore.synced")
            # The database comes last, also on the disk: without it there is nothing yet.
            for path in sorted(unfinished.iterdir(), key=lambda path: path.name == DATABASE_NAME):
                if path.name == DATABASE_NAME:
                    sync(data_dir)
                path.rename(data_dir / path.name)
                reached("restore.renamed")
            sync(data_dir)
            reached("restore.durable")
    return done


@contextmanager
def _unfinished(data_dir: Path) -> Iterator[Path]:
    """A directory to fill within `data_dir`, while nobody else can open or restore it; gone afterwards."""
    with file_errors(data_dir):
        make_directories(data_dir)
        lock = filelock.FileLock(data_dir / MIGRATE_LOCK, timeout=_LOCK_SECONDS)
        lock.acquire()
    try:
        _check_empty(data_dir)
        unfinished = data_dir / _UNFINISHED
        with file_errors(data_dir):
            for name in (_UNFINISHED, *_FOLDERS):  # of a restore that was killed: see _check_empty
                shutil.rmtree(data_dir / name, ignore_errors=True)
            unfinished.mkdir()
        reached("restore.begun")
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()


def _check_empty(data_dir: Path) -> None:
    if data_dir.exists() and not data_dir.is_dir():
        raise Conflict(f"{data_dir} is a file; name a new or an empty directory to restore to")
    if not data_dir.exists():
        return
    with file_errors(data_dir):
        found = sorted(path.name for path in data_dir.iterdir())
    harmless: tuple[str, ...] = ("lost+found", MIGRATE_LOCK, _UNFINISHED)
    if _UNFINISHED in found and DATABASE_NAME not in found:
        harmless += _FOLDERS  # a restore begins in an empty directory: it is what moved them here, and was killed
    strangers = [name for name in found if name not in harmless]
    if strangers:
        raise Conflict(
            f"{data_dir} is not empty ({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}); "
            "a restore never writes over anything: name a new or an empty directory"
        )
