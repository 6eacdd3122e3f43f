"""Find parts of a data directory that its processes cannot use because another user created them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from store.directory import BACKUPS, DATABASE_NAME, KEPT_FOLDERS, PROCESSES, SEGMENTS

_FOLDERS = (SEGMENTS, PROCESSES, BACKUPS, *KEPT_FOLDERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusable:
    """A file that cannot be read and written, or a folder in which no files can be created."""

    path: Path
    owner: str


def user_of(directory: Path) -> str:
    """Name or number of the user whose processes use the directory: this user, or for root the directory's owner."""
    return _name_of(_uid_of(directory))


def unusable(directory: Path) -> list[Unusable]:
    """What `user_of` cannot use, folders before their contents. Paths that vanish meanwhile are left out."""
    return list(_unusable(directory))


def _unusable(directory: Path) -> Iterator[Unusable]:
    for path, needed in _parts(directory):
        # A path in a closed folder cannot be checked; the folder itself is reported.
        with suppress(FileNotFoundError, PermissionError):
            if not _allows(directory, path, needed):
                yield Unusable(path=path, owner=_name_of(path.stat().st_uid))


def _parts(directory: Path) -> Iterator[tuple[Path, int]]:
    """Folders, and the files that are opened, each with the access mode that it needs. Some may not exist."""
    folder, file = os.R_OK | os.W_OK | os.X_OK, os.R_OK | os.W_OK
    yield directory, folder
    for suffix in ("", "-wal", "-shm"):
        yield directory / f"{DATABASE_NAME}{suffix}", file
    for path in _listed(directory):
        if path.suffix == ".lock":
            yield path, file
    for name in _FOLDERS:
        yield directory / name, folder
    for path in _listed(directory / PROCESSES):
        yield path, file
    for name in (SEGMENTS, *KEPT_FOLDERS):
        for path in _listed(directory / name):
            yield path, file if path.suffix == ".lock" else os.R_OK  # other files are replaced, never changed


def _listed(folder: Path) -> list[Path]:
    """The folder's paths, in order; none where it is missing or closed."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, PermissionError):
        return []


def _allows(directory: Path, path: Path, needed: int) -> bool:
    uid = _uid_of(directory)
    if uid == os.geteuid():
        return os.access(path, needed, effective_ids=True)
    # The kernel would answer for root. Its rule: the owner's bits, else the group's, else everybody's.
    state = path.stat()
    shift = 6 if state.st_uid == uid else 3 if state.st_gid == directory.stat().st_gid else 0
    return (state.st_mode >> shift) & needed == needed


def _uid_of(directory: Path) -> int:
    return directory.stat().st_uid if os.geteuid() == 0 else os.geteuid()


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user without a name, as in a container
        return str(uid)
