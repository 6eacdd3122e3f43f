"""Which databases this process has open: only the first to open one may look at its files by other means than SQLite.

Closing any file that is a database of SQLite's drops all locks that the process holds on it, and another process would
delete the log under its hands. Source: "How To Corrupt An SQLite Database File", section 2.2.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from store.wal import check_log

_opened: Counter[Path] = Counter()  # data directories, and how many times each is open
_lock = threading.Lock()


def enter(directory: Path) -> None:
    """Before a database is opened: looks at its log, unless that was done when it was opened first.

    Raises StorageCorrupt, as `check_log` does.
    """
    with _lock:
        if not _opened[directory.resolve()]:
            check_log(directory)
        _opened[directory.resolve()] += 1


def leave(directory: Path) -> None:
    """After it was closed."""
    with _lock:
        _opened[directory.resolve()] -= 1
        if not _opened[directory.resolve()]:
            del _opened[directory.resolve()]
