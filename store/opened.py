"""Track which databases this process has open, so that their files are read directly only before the first opening.

Closing a file descriptor of an SQLite database drops all locks that the process holds on it; another process could
then delete the log in use. Source: "How To Corrupt An SQLite Database File", section 2.2.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from store.wal import check_log

_opened: Counter[Path] = Counter()  # by data directory: how many times it is open
_lock = threading.Lock()


def enter(directory: Path) -> None:
    """Call before opening a database: checks its log, unless this process has it open already.

    Raises StorageCorrupt, as `check_log` does.
    """
    with _lock:
        if not _opened[directory.resolve()]:
            check_log(directory)
        _opened[directory.resolve()] += 1


def leave(directory: Path) -> None:
    """Call after closing a database."""
    with _lock:
        _opened[directory.resolve()] -= 1
        if not _opened[directory.resolve()]:
            del _opened[directory.resolve()]
