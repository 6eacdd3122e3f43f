"""Bringing the tables up to the schema that this program speaks."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

import migrations
from core.errors import SchemaTooNew, StorageCorrupt, StorageError

SCHEMA_VERSION = "0003"  # the newest revision in migrations/versions
APPLICATION_ID = 0x53414C49  # marks the file as ours in its header: "SALI"


def migrate(engine: sa.Engine, directory: Path) -> None:
    """Create or upgrade the tables, all or nothing.

    Raises SchemaTooNew for a newer version, StorageError for a database of another program, StorageCorrupt when rows
    point at rows that are not there.
    """
    with engine.connect() as connection:
        version = _version(connection, directory)
        connection.rollback()
        if version == SCHEMA_VERSION:
            return
        # Rebuilding a table with foreign keys on would delete the rows that refer to it.
        _pragma(connection, "foreign_keys = OFF")
        with connection.execution_options(salience_begin="BEGIN IMMEDIATE").begin():
            _upgrade(connection)
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise StorageCorrupt(f"data directory {directory}: rows refer to rows that are not there")
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


def _upgrade(connection: sa.Connection) -> None:
    # Alembic is only loaded when there is something to do: it takes longer than opening the database.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_VERSION)
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def _pragma(connection: sa.Connection, setting: str) -> None:
    """Outside of any transaction, where SQLite takes notice of it."""
    connection.connection.cursor().execute(f"PRAGMA {setting}")
