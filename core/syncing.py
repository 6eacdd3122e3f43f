"""Durable file operations: what is written survives a loss of power."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def make_directories(path: Path) -> None:
    """Create a directory and its missing parents; their directory entries are on disk when this returns."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    # An existing directory may come from a process that was killed before it could sync it.
    for directory in missing or [path]:
        parent = directory.absolute().parent
        if os.access(parent, os.R_OK):  # an unreadable parent cannot be synced, and was not created here
            sync(parent)


def replace_file(file: Path, content: bytes) -> None:
    """Replace a file atomically: readers see the old content or the new, even after a loss of power."""
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
    """Sync `directory` and everything in it to disk."""
    for path in directory.rglob("*"):
        sync(path)
    sync(directory)


def sync(path: Path) -> None:
    """Sync a file's content, or a directory's entries, to disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync directories
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
