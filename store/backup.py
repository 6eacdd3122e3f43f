"""Backup and restore. A backup is a data directory that nobody writes to, with nothing but what a restore needs."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from core.errors import Conflict, StorageError
from core.syncing import make_directories, sync, sync_tree
from store.copying import CopyProgress, copy_directory, new_directory
from store.directory import DATABASE_NAME, KEPT_FOLDERS, LAST_BACKUP, MIGRATE_LOCK, SEGMENTS
from store.failpoints import reached
from store.faults import file_errors
from store.leftovers import remove_unfinished
from store.verify import Progress, Recheck, Verification, check

_UNFINISHED = ".restoring"  # in the data directory; left behind by a killed restore, removed by the next one
_LOCK_SECONDS = 10.0
_log = logging.getLogger(__name__)
_FOLDERS = (*KEPT_FOLDERS, SEGMENTS)


def backup(
    data_dir: Path,
    target: Path,
    *,
    recheck: Recheck | None = None,
    on_copy: CopyProgress | None = None,
    on_verify: Progress | None = None,
) -> Verification:
    """Copy the current state to the new directory `target`, and verify the copy. Others may go on writing.

    Raises Conflict where `target` exists, StorageFull, StorageReadOnly, StorageCorrupt where the copy is damaged,
    which means that the source is. After any of them there is no `target`.
    """
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise StorageError(f"{target} lies within the data directory {data_dir}; name a directory elsewhere")
    if target.parent.is_dir():
        with file_errors(target, "backup"):
            remove_unfinished(target.parent)  # of backups that were killed a day ago or more
    with new_directory(target) as unfinished:
        copy_directory(data_dir, unfinished, on_copy)
        done = check(unfinished, name=data_dir, recheck=recheck, on_progress=on_verify)
    _note(data_dir / LAST_BACKUP)
    return done


def last_backup(data_dir: Path) -> float:
    """Time of the last backup of the directory, in seconds since 1970; 0: none, or made by an earlier version."""
    try:
        return (data_dir / LAST_BACKUP).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def restore(
    source: Path,
    data_dir: Path,
    *,
    recheck: Recheck | None = None,
    on_copy: CopyProgress | None = None,
    on_verify: Progress | None = None,
) -> Verification:
    """Verify the backup `source`, copy it to `data_dir`, and verify the copy.

    A backup of an older schema is restored unchanged, and upgraded when it is opened. When root restores into another
    user's directory, the files are given to that user.

    Raises Conflict where `data_dir` holds anything, StorageBusy where another process is opening it, StorageCorrupt
    where the backup is damaged, StorageFull, StorageReadOnly. After any of them `data_dir` holds only a lock file.
    """
    _check_empty(data_dir)
    check(source, recheck=recheck, on_progress=on_verify)
    with _unfinished(data_dir) as unfinished:
        copy_directory(source, unfinished, on_copy)
        done = check(unfinished, name=data_dir, recheck=recheck, on_progress=on_verify)
        with file_errors(data_dir):
            _hand_over(data_dir, unfinished)
            sync_tree(unfinished)
            reached("restore.synced")
            # The database is moved last, on the disk too: without it the directory counts as empty.
            for path in sorted(unfinished.iterdir(), key=lambda path: path.name == DATABASE_NAME):
                if path.name == DATABASE_NAME:
                    sync(data_dir)
                path.rename(data_dir / path.name)
                reached("restore.renamed")
            sync(data_dir)
            reached("restore.durable")
    return done


def _note(mark: Path) -> None:
    try:
        try:
            _touch(mark)
        except OSError:  # another user made it, or it is a link
            mark.unlink(missing_ok=True)
            _touch(mark)
    except OSError as error:  # the backup itself was made
        _log.warning("%s does not say that a backup was made: %s", mark, error.strerror)


def _touch(file: Path) -> None:
    """Like Path.touch, but does not follow a link."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def _hand_over(data_dir: Path, tree: Path) -> None:
    """Give what root restored to the directory's owner, whose processes have to write to it."""
    owner = data_dir.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        for path in (data_dir / MIGRATE_LOCK, tree, *tree.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)  # the owner may have put links there


@contextmanager
def _unfinished(data_dir: Path) -> Iterator[Path]:
    """A directory to fill within `data_dir`, locked against others that open or restore it; removed afterwards."""
    with file_errors(data_dir):
        make_directories(data_dir)
        lock = filelock.FileLock(data_dir / MIGRATE_LOCK, timeout=_LOCK_SECONDS)
        lock.acquire()
    try:
        _check_empty(data_dir)
        unfinished = data_dir / _UNFINISHED
        with file_errors(data_dir):
            for name in (_UNFINISHED, *_FOLDERS):  # of a killed restore: see _check_empty
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
        harmless += _FOLDERS  # a restore starts with an empty directory, so these are from one that was killed
    strangers = [name for name in found if name not in harmless]
    if strangers:
        raise Conflict(
            f"{data_dir} is not empty ({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}); "
            "a restore never writes over anything: name a new or an empty directory"
        )
