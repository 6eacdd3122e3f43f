"""Create the database's tables, or upgrade them to the schema of this program."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

import migrations
from core.errors import SchemaTooNew, StorageCorrupt, StorageError, StorageFull
from store.copying import check_structure, copied_bytes, copy_directory, new_directory
from store.directory import BACKUPS
from store.failpoints import reached
from store.processes import check_upgrade
from store.wal import new_identity

SCHEMA_VERSION = "0010"  # the newest revision in migrations/versions
APPLICATION_ID = 0x53414C49  # marks the file as ours in its header: "SALI"
_log = logging.getLogger(__name__)


def migrate(engine: sa.Engine, directory: Path, backup: Path | None = None) -> None:
    """Create or upgrade the tables, all or nothing.

    Before an upgrade the directory is copied: to `backup`, or into a new directory below `directory`/backups.

    Raises SchemaTooNew for a newer version, DirectoryInUse where a process with another version has the directory open,
    StorageError for a database of another program, StorageCorrupt when rows refer to missing rows or the file is
    damaged, StorageFull where there is no room for the backup, Conflict where `backup` exists. After any of them
    nothing is changed.
    """
    with engine.connect() as connection:
        version = _version(connection, directory)
        connection.rollback()
        if version == SCHEMA_VERSION:
            return
        if version is not None:
            check_upgrade(directory, SCHEMA_VERSION)
        # Rebuilding a table with foreign keys on would delete the rows that refer to it.
        _pragma(connection, "foreign_keys = OFF")
        with connection.execution_options(salience_begin="BEGIN IMMEDIATE").begin():
            if version is not None:  # nobody else writes from here on, so the backup is of what is upgraded
                _back_up(directory, version, backup)
            reached("migrate.backed_up")
            _upgrade(connection)
            reached("migrate.upgraded")
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise StorageCorrupt(f"data directory {directory}: rows refer to rows that are not there")
        reached("migrate.committed")
        _pragma(connection, "foreign_keys = ON")


def _version(connection: sa.Connection, directory: Path) -> str | None:
    """The revision of the database, None for an empty one."""
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if application != APPLICATION_ID or "alembic_version" not in tables:
        raise StorageError(f"data directory {directory}: its salience.db was not written by Salience")
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version is None or not version.isdecimal():
        raise StorageCorrupt(f"data directory {directory}: its schema version {version!r} is not a number")
    if int(version) > int(SCHEMA_VERSION):
        raise SchemaTooNew(
            f"data directory {directory}: written by a newer Salience (schema {version}; this one speaks "
            f"{SCHEMA_VERSION}); upgrade the program"
        )
    return str(version)


def _back_up(directory: Path, version: str, backup: Path | None) -> None:
    """Make a checked backup: the upgrade rebuilds indexes and checksums, and would make damage look sound."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = backup or _unused(directory / BACKUPS / f"schema-{version}-{stamp}")
    try:
        with new_directory(target) as unfinished:
            _check_room(directory, unfinished)
            copy_directory(directory, unfinished)
            check_structure(unfinished)
    except StorageFull as error:
        raise StorageFull(
            f"data directory {directory}: its schema {version} must become {SCHEMA_VERSION}, and there is no room for "
            f"the backup that is made before ({error.message}). Free some space, or put the backup on another disk: "
            f"salience migrate --backup /another/disk/NAME --data-dir {directory}"
        ) from error
    _log.warning(
        "data directory %s: its schema goes from %s to %s; the backup made before is kept in %s",
        directory,
        version,
        SCHEMA_VERSION,
        target,
    )


def _unused(path: Path) -> Path:
    """`path`, or with a number appended if it exists: an upgrade was killed within the same second."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _check_room(directory: Path, target: Path) -> None:
    """Raises StorageFull before much is written."""
    needed = copied_bytes(directory)
    free = shutil.disk_usage(target).free
    if free < needed:
        raise StorageFull(f"it takes {needed / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free")


def _upgrade(connection: sa.Connection) -> None:
    # Alembic is imported only when needed: that takes longer than opening the database.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_VERSION)
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    if not connection.exec_driver_sql("PRAGMA user_version").scalar():
        connection.exec_driver_sql(f"PRAGMA user_version = {new_identity()}")


def _pragma(connection: sa.Connection, setting: str) -> None:
    """Set a pragma outside of any transaction, where SQLite heeds it."""
    connection.connection.cursor().execute(f"PRAGMA {setting}")
