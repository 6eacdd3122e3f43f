"""Names and contents on the disk, whatever happens to the power."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def make_directories(path: Path) -> None:
    """Create the directory, and those above it that are missing; their names are on the disk when this returns."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    # One that is there may have been made by a process that was killed before it came to this.
    for directory in missing or [path]:
        parent = directory.absolute().parent
        if os.access(parent, os.R_OK):  # else it cannot be synced by us, and was not made by us
            sync(parent)


def replace_file(file: Path, content: bytes) -> None:
    """Write it at one stroke: readers see the old file or the new one, after a loss of power as well."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    sync(file.parent)


def sync_tree(directory: Path) -> None:
    """Everything in `directory`, and itself, is on the disk when this returns."""
    for path in directory.rglob("*"):
        sync(path)
    sync(directory)


def sync(path: Path) -> None:
    """A file, or the names in a directory."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such thing
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
