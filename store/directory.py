"""The layout of the data directory: names of its files, and checks that a directory is ours or empty."""

from __future__ import annotations

from pathlib import Path

from core.errors import StorageError
from core.syncing import make_directories

DATABASE_NAME = "salience.db"
MIGRATE_LOCK = "migrate.lock"  # held while tables are created or upgraded, and while a backup is restored
MAINTENANCE_LOCK = "maintenance.lock"  # held by the one process that checkpoints, seals, merges and cleans up
WRITE_QUEUE = "write.lock"  # held by the writer that is next
SEGMENTS = "segments"  # derived from the database, and rebuilt from it where they are missing
PROCESSES = "processes"  # a file for each long-lived process
REINDEX_LOCK = "reindex.lock"  # held by the process that copies documents to another generation
REINDEX_QUEUE = "reindex-asked.lock"  # held by a process that asks for a switch or a rollback: others make way for it
PROCESSES_LOCK = "processes.lock"  # held while a process is registered or looked up
LAST_BACKUP = "last-backup"  # its modification time is that of the last backup
BACKUPS = "backups"  # made before the schema was changed
KEPT_FOLDERS = ("projections", "remote-models")  # folders that belong to the database and are part of a backup
_LOCKS = (
    "checkpoint.lock",
    MIGRATE_LOCK,
    MAINTENANCE_LOCK,
    WRITE_QUEUE,
    REINDEX_LOCK,
    REINDEX_QUEUE,
    PROCESSES_LOCK,
)  # the first one was used by earlier versions
_HARMLESS = ("lost+found", PROCESSES, f"{DATABASE_NAME}-shm", *_LOCKS, *KEPT_FOLDERS)


def check_directory(data_dir: Path) -> None:
    """Raises StorageError where it is a file, or holds other files and no database. Creates nothing."""
    if data_dir.exists() and not data_dir.is_dir():
        raise StorageError(f"data directory {data_dir}: is a file; name a directory")
    database = data_dir / DATABASE_NAME
    if database.exists() or not data_dir.exists():
        return
    names = (entry.name for entry in data_dir.iterdir())
    strangers = sorted(name for name in names if name not in _HARMLESS and not name.startswith("."))
    if strangers and not database.exists():  # another process may just have created it
        raise StorageError(
            f"data directory {data_dir}: holds other files ({', '.join(strangers[:3])}"
            f"{', ...' if len(strangers) > 3 else ''}) and no {DATABASE_NAME}; name an empty or a new directory"
        )


def prepare_directory(data_dir: Path) -> Path:
    """Create the directory if it is missing; returns the path of its database. Raises like `check_directory`."""
    check_directory(data_dir)
    database = data_dir / DATABASE_NAME
    if not database.exists():
        make_directories(data_dir)
    return database
