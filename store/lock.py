"""The locks of a data directory, which processes and threads hold by turns."""

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


def is_held(directory: Path, name: str) -> bool:
    """Whether somebody holds the lock now. Any number may look at once. Raises StorageError.

    A look shares the lock for an instant: whoever tries to take it just then has to try again.
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
    """Say in the lock's file who holds it. On a full disk it is left out: the holder may be the one who makes room."""
    us = f"{os.getpid()} on {socket.gethostname()}"
    if signed_by(directory, name) == us:
        return
    try:
        (directory / name).write_text(us, "utf-8")
    except OSError as error:
        _log.info("%s does not say who holds it: %s", directory / name, error.strerror)


def signed_by(directory: Path, name: str) -> str | None:
    """Who holds the lock, or did last: "4711 on host"."""
    try:
        return (directory / name).read_text("utf-8", "replace") or None
    except FileNotFoundError:
        return None
