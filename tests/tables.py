"""The tables of new databases, made by the migrations once in a test run and copied from then on: 50 ms each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from store import migrate

_DEFINITIONS = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


@contextmanager
def made_once() -> Iterator[None]:
    """Holds for this process. Older databases are upgraded by the migrations, as ever."""
    by_migrations, known = migrate._upgrade, dict[str, list[str]]()  # by version

    def upgrade(connection: sa.Connection) -> None:
        if connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_master").scalar():
            by_migrations(connection)
            return
        version = migrate.SCHEMA_VERSION
        if version not in known:
            by_migrations(connection)
            known[version] = list(connection.exec_driver_sql(_DEFINITIONS).scalars())
            return
        for definition in known[version]:
            connection.exec_driver_sql(definition)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (version,))
        connection.exec_driver_sql(f"PRAGMA application_id = {migrate.APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {migrate.new_identity()}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "_upgrade", upgrade)
        yield
