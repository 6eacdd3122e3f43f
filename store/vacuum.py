"""Return unused disk space to the file system."""

from __future__ import annotations

from core.errors import LockHeld
from store.copying import check_structure
from store.database import Database
from store.maintenance import owning
from store.processes import processes
from store.segments.upkeep import GRACE_SECONDS, remove_retired


def vacuum(database: Database) -> None:
    """Rewrite the database file without its free pages.

    Raises StorageCorrupt where its structure is damaged, StorageBusy, StorageFull.
    """
    check_structure(database.directory)
    database.vacuum()


def tidy(database: Database) -> bool:
    """Checkpoint the write-ahead log, and remove the segments that were replaced by others.

    False where another process owns the maintenance, which then does both before long. Where no long-lived process has
    the directory open, files are removed without a grace period: a command that was about to open one reads the
    database instead.

    Raises StorageBusy, StorageFull, StorageError.
    """
    grace = GRACE_SECONDS if processes(database.directory) else 0.0
    try:
        with owning(database.directory):
            database.checkpoint()
            remove_retired(database, grace_seconds=grace)
            database.checkpoint()
    except LockHeld:
        return False
    return True
