"""Find and remove what killed processes left unfinished, such as backups that were never renamed to their target."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.directory import BACKUPS, KEPT_FOLDERS
from store.failpoints import reached

REMOVED_AFTER_SECONDS = 24 * 3600.0  # without a change: a process that is still at work writes all the time
_UNFINISHED = ".*.unfinished-*"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """An unfinished file or directory. A process may still be working on it: see its age."""

    path: Path
    bytes: int
    age_seconds: float  # since its last change; 0 where that is in the future, because the clock was set back


def leftovers(data_dir: Path) -> list[Leftover]:
    """The leftovers in the data directory, by path, other than segments."""
    folders = [data_dir / BACKUPS, *(data_dir / name for name in KEPT_FOLDERS)]
    found = [path for folder in folders for path in _matching(folder)]
    return [leftover for path in sorted([*found, *data_dir.glob(".restoring")]) for leftover in _described(path)]


def remove_leftovers(data_dir: Path, *, older_than: float = REMOVED_AFTER_SECONDS) -> list[Path]:
    """Remove the leftovers in `data_dir` that did not change for `older_than` seconds; returns their paths."""
    return [_remove(leftover) for leftover in leftovers(data_dir) if leftover.age_seconds >= older_than]


def remove_unfinished(folder: Path, *, older_than: float = REMOVED_AFTER_SECONDS) -> list[Path]:
    """Remove such unfinished backups in `folder`, where backups are made; returns their paths."""
    found = [leftover for path in sorted(folder.glob(_UNFINISHED)) for leftover in _described(path)]
    return [_remove(leftover) for leftover in found if leftover.age_seconds >= older_than]


def _matching(folder: Path) -> Iterator[Path]:
    for pattern in (_UNFINISHED, "*.tmp", ".*.tmp"):
        yield from folder.glob(pattern)


def _described(path: Path) -> Iterator[Leftover]:
    """Yields nothing if the path is gone by now, because it was finished."""
    try:
        states = [part.stat() for part in (path, *path.rglob("*"))]
    except FileNotFoundError:
        return
    age = time.time() - max(state.st_mtime for state in states)
    yield Leftover(path=path, bytes=sum(state.st_size for state in states[1:] or states), age_seconds=max(0.0, age))


def _remove(leftover: Leftover) -> Path:
    path = leftover.path
    reached("leftover.found")
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    reached("leftover.removed")
    _log.info("removed %s, which was left unfinished %.0f hours ago", path, leftover.age_seconds / 3600)
    return path
