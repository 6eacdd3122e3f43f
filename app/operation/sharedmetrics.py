"""The folder in which the workers of one server keep what they count, so that each can show the figures of all.

Supervisor and workers hold a lock on it, which the kernel frees however they end: a folder that nobody holds was left
behind by killed processes, and the next server removes it. systemd-tmpfiles leaves a locked folder alone, too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.operation.process import METRICS_VARIABLE

_PREFIX = "salience-metrics-"


@contextmanager
def shared_metrics() -> Iterator[Path]:
    """The folder while the block runs; the processes that start meanwhile know it by their environment."""
    _remove_leftovers()
    folder, held = _made()
    os.environ[METRICS_VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[METRICS_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def hold(folder: str) -> None:
    """Keep the folder from being removed, to the end of this process."""
    with suppress(OSError):
        fcntl.flock(_opened(Path(folder)), fcntl.LOCK_SH)


def _made() -> tuple[Path, int]:
    """A new folder, and the file descriptor that holds it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            held = _opened(folder)
        except FileNotFoundError:  # another server took it for a leftover before it was locked
            continue
        fcntl.flock(held, fcntl.LOCK_SH)
        if folder.exists():  # likewise
            return folder, held
        os.close(held)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            descriptor = _opened(folder)
        except OSError:  # no folder, or another user's
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its processes are there
            pass
        finally:
            os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
