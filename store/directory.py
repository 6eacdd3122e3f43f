"""The data directory: recognising our own, and never moving into somebody else's."""

from __future__ import annotations

from pathlib import Path

from core.errors import StorageError
from core.syncing import make_directories

DATABASE_NAME = "salience.db"
MIGRATE_LOCK = "migrate.lock"  # held while tables are created or upgraded, and while a backup is restored
MAINTENANCE_LOCK = "maintenance.lock"  # held by the one process that checkpoints, seals, merges and cleans up
WRITE_QUEUE = "write.lock"  # held by the one writer that is to write next
SEGMENTS = "segments"  # made from the database, and made anew from it where they are missing
PROCESSES = "processes"  # a file for each long-lived process
REINDEX_LOCK = "reindex.lock"  # held by whoever brings documents to another generation
REINDEX_QUEUE = "reindex-asked.lock"  # held by whoever asks for a switch or a rollback: the others stand back
PROCESSES_LOCK = "processes.lock"  # held while one is entered or looked for
LAST_BACKUP = "last-backup"  # when it was changed: when a backup was made last
BACKUPS = "backups"  # made before the schema was changed
KEPT_FOLDERS = ("projections", "remote-models")  # beside the database: what belongs to it, and a backup holds
_LOCKS = (
    "checkpoint.lock",
    MIGRATE_LOCK,
    MAINTENANCE_LOCK,
    WRITE_QUEUE,
    REINDEX_LOCK,
    REINDEX_QUEUE,
    PROCESSES_LOCK,
)  # the first: of earlier versions
_HARMLESS = ("lost+found", PROCESSES, f"{DATABASE_NAME}-shm", *_LOCKS, *KEPT_FOLDERS)


def check_directory(data_dir: Path) -> None:
    """Creates nothing. Raises StorageError where it is a file, or holds other files and no database."""
    if data_dir.exists() and not data_dir.is_dir():
        raise StorageError(f"data directory {data_dir}: is a file; name a directory")
    database = data_dir / DATABASE_NAME
    if database.exists() or not data_dir.exists():
        return
    names = (entry.name for entry in data_dir.iterdir())
    strangers = sorted(name for name in names if name not in _HARMLESS and not name.startswith("."))
    if strangers and not database.exists():  # or another process has just begun with the same new directory
        raise StorageError(
            f"data directory {data_dir}: holds other files ({', '.join(strangers[:3])}"
            f"{', ...' if len(strangers) > 3 else ''}) and no {DATABASE_NAME}; name an empty or a new directory"
        )


def prepare_directory(data_dir: Path) -> Path:
    """Create the directory unless it is there; the path of its database. Raises as `check_directory`."""
    check_directory(data_dir)
    database = data_dir / DATABASE_NAME
    if not database.exists():
        make_directories(data_dir)
    return database
