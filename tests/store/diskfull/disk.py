"""A disk that is full when a test says so. For a process of its own: other writes of the process meet the same limits.

limit   no file may be longer than allowed (RLIMIT_FSIZE): the write fails with EFBIG, some of it done or none
small   a file system of a few megabytes, mounted in a name space of the process's own: ENOSPC
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEBIBYTES = 24
_MOUNT = f'mount -t tmpfs -o size={MEBIBYTES}m tmpfs "$0" && exec "$@"'


class Disk:
    """`root` is on it."""

    def __init__(self, kind: str, root: Path) -> None:
        self.root = root
        self._kind = kind
        self._ballast = root / "ballast"

    @property
    def counts_the_whole(self) -> bool:
        """Whether room is that of the whole disk, and not of a file that is long already."""
        return self._kind == "small"

    @contextmanager
    def full(self, room: int = 0) -> Iterator[None]:
        """At most `room` bytes more can be written: of the whole disk, or beyond the longest file."""
        if self._kind == "limit":
            longest = max((path.stat().st_size for path in self.root.rglob("*") if path.is_file()), default=0)
            allowed = longest + room if room else 0  # 0: not a byte is overwritten, either
            resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, resource.RLIM_INFINITY))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return
        self._fill(room)
        try:
            yield
        finally:
            self._ballast.unlink()

    def _fill(self, room: int) -> None:
        free = os.statvfs(self.root)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - room))


def kinds() -> list[str]:
    """Those that this machine has."""
    return ["limit", "small"] if _may_mount() else ["limit"]


def command(kind: str, root: Path, module: str) -> list[str]:
    """Runs `python -m module KIND ROOT ...` with `root` on such a disk."""
    python = [sys.executable, "-m", module, kind, str(root)]
    return python if kind == "limit" else ["unshare", "-Urm", "sh", "-c", _MOUNT, str(root), *python]


def _may_mount() -> bool:
    try:
        tried = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]
        return subprocess.run(tried, check=False, capture_output=True, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):  # not Linux
        return False
