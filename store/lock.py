"""The locks of a data directory, which processes and threads hold by turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from store.faults import file_errors


@contextmanager
def held(directory: Path, name: str, *, timeout: float, poll: float = 0.05) -> Iterator[None]:
    """Hold the lock `name` of `directory` while the block runs. The kernel gives it back when this process ends.

    `timeout`: seconds to wait for it; `poll`: between looks. Raises StorageBusy where others have it for longer, and
    what else a file system has to say as StorageError.
    """
    lock = filelock.FileLock(directory / name, timeout=timeout, poll_interval=poll)
    with file_errors(directory):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
