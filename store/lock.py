"""File locks of a data directory, between processes and between threads."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from store.faults import file_errors

_log = logging.getLogger(__name__)


@contextmanager
def held(directory: Path, name: str, *, timeout: float, poll: float = 0.05) -> Iterator[None]:
    """Hold the lock `name` of `directory` while the block runs. The kernel releases it when this process ends.

    `timeout`: seconds to wait for it; `poll`: seconds between tries. Raises StorageBusy where others hold it for
    longer, and StorageError for other errors of the file system.
    """
    lock = filelock.FileLock(directory / name, timeout=timeout, poll_interval=poll)
    with file_errors(directory):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_held(directory: Path, name: str) -> bool:
    """Whether the lock is held now. Any number of threads and processes may ask at once. Raises StorageError.

    The check takes a shared lock for an instant: an attempt to take the lock just then must be repeated.
    """
    with file_errors(directory):
        try:
            file = os.open(directory / name, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


def sign(directory: Path, name: str) -> None:
    """Write into the lock's file who holds it. Skipped on a full disk: its holder may be the one who frees space."""
    us = f"{os.getpid()} on {socket.gethostname()}"
    if signed_by(directory, name) == us:
        return
    try:
        (directory / name).write_text(us, "utf-8")
    except OSError as error:
        _log.info("%s does not say who holds it: %s", directory / name, error.strerror)


def signed_by(directory: Path, name: str) -> str | None:
    """Who holds the lock, or held it last, such as "4711 on host"; None where nobody did."""
    try:
        return (directory / name).read_text("utf-8", "replace") or None
    except FileNotFoundError:
        return None
