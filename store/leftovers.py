"""What killed processes left unfinished: backups that never got their name, and the like."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.directory import BACKUPS, KEPT_FOLDERS
from store.failpoints import reached

REMOVED_AFTER_SECONDS = 24 * 3600.0  # without a change: whoever is at work writes all the time
_UNFINISHED = ".*.unfinished-*"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A file or directory that is not finished. It may be at work still: see its age."""

    path: Path
    bytes: int
    age_seconds: float  # since its last change; 0 where that lies in the future, as when the clock was set back


def leftovers(data_dir: Path) -> list[Leftover]:
    """Those within the data directory, by path. Segments are not among them."""
    folders = [data_dir / BACKUPS, *(data_dir / name for name in KEPT_FOLDERS)]
    found = [path for folder in folders for path in _matching(folder)]
    return [leftover for path in sorted([*found, *data_dir.glob(".restoring")]) for leftover in _described(path)]


def remove_leftovers(data_dir: Path, *, older_than: float = REMOVED_AFTER_SECONDS) -> list[Path]:
    """Remove the leftovers in `data_dir` that did not change for `older_than` seconds; those that were removed."""
    return [_remove(leftover) for leftover in leftovers(data_dir) if leftover.age_seconds >= older_than]


def remove_unfinished(folder: Path, *, older_than: float = REMOVED_AFTER_SECONDS) -> list[Path]:
    """Likewise the unfinished backups in `folder`, where others are made."""
    found = [leftover for path in sorted(folder.glob(_UNFINISHED)) for leftover in _described(path)]
    return [_remove(leftover) for leftover in found if leftover.age_seconds >= older_than]


def _matching(folder: Path) -> Iterator[Path]:
    for pattern in (_UNFINISHED, "*.tmp", ".*.tmp"):
        yield from folder.glob(pattern)


def _described(path: Path) -> Iterator[Leftover]:
    """Nothing where it is gone meanwhile: it was finished."""
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
