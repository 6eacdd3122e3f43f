"""The data directory: recognising our own, and never moving into somebody else's."""

from __future__ import annotations

from pathlib import Path

from core.errors import StorageError

DATABASE_NAME = "salience.db"
MIGRATE_LOCK = "migrate.lock"  # held while tables are created or upgraded, and while a backup is restored
BACKUPS = "backups"  # made before the schema was changed
KEPT_FOLDERS = ("projections", "remote-models")  # beside the database: what belongs to it, and a backup holds
_HARMLESS = ("lost+found", "checkpoint.lock", MIGRATE_LOCK, *KEPT_FOLDERS)


def prepare_directory(data_dir: Path) -> Path:
    """Create the directory unless it is there; the path of its database.

    Raises StorageError when it is a file, or holds other files and no database.
    """
    if data_dir.exists() and not data_dir.is_dir():
        raise StorageError(f"data directory {data_dir}: is a file; name a directory")
    data_dir.mkdir(parents=True, exist_ok=True)
    database = data_dir / DATABASE_NAME
    if not database.exists():
        names = (entry.name for entry in data_dir.iterdir())
        strangers = sorted(name for name in names if name not in _HARMLESS and not name.startswith("."))
        if strangers:
            raise StorageError(
                f"data directory {data_dir}: holds other files ({', '.join(strangers[:3])}"
                f"{', ...' if len(strangers) > 3 else ''}) and no {DATABASE_NAME}; name an empty or a new directory"
            )
    return database
