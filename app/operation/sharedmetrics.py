"""The folder in which the workers of one server share their metrics, so that each can show those of all.

The supervisor and the workers hold a lock on it, which the kernel releases however they end. A folder without a lock
was left behind by killed processes, and the next server removes it. systemd-tmpfiles respects the lock, too.
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
    """Create the folder for the duration of the block, after removing those that earlier servers left behind.

    An environment variable passes it to the processes that are started meanwhile.
    """
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
    """Lock the folder, so that it is not removed as a leftover, until this process ends."""
    with suppress(OSError):
        fcntl.flock(_opened(Path(folder)), fcntl.LOCK_SH)


def _made() -> tuple[Path, int]:
    """Create a folder, and return it with the file descriptor that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            held = _opened(folder)
        except FileNotFoundError:  # another server removed it before it was locked
            continue
        with suppress(OSError):  # without locks no server removes another's folder
            fcntl.flock(held, fcntl.LOCK_SH)
        if folder.exists():  # else removed, as above
            return folder, held
        os.close(held)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            descriptor = _opened(folder)
        except OSError:  # not a folder, or another user's
            continue
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, or on a file system without such locks, where that is not known
            pass
        finally:
            os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
