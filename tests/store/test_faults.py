"""What is the storage's fault, and what is the program's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import StorageError
from store import Database
from store.readonly import open_read_only
from tests.store.effort import allow_variables


def test_a_statement_that_cannot_be_run_is_no_fault_of_the_data_directory(database: Database) -> None:
    allow_variables(database, 2)
    with pytest.raises(sa.exc.OperationalError, match="no such table"), database.read() as session:
        session.execute(sa.text("SELECT * FROM nowhere"))
    with pytest.raises(sqlite3.OperationalError, match="too many SQL variables"), database.read() as session:
        session.rows("SELECT ?, ?, ?", [1, 2, 3])
    with pytest.raises(sa.exc.OperationalError, match="no such table"), database.write() as session:
        session.execute(sa.text("DELETE FROM nowhere"))


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_directory_that_was_exchanged_is(tmp_path: Path, write: bool) -> None:
    """As when the volume is unmounted under a server: a new connection finds nothing, and SQLite makes a file of it."""
    database = Database.open(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "gone")
    (tmp_path / "data").mkdir()
    database._engine.dispose()
    with pytest.raises(StorageError, match="no such table"), database.write() if write else database.read() as session:
        session.execute(sa.text("SELECT * FROM collection"))
    database.close()


def test_tables_that_a_newer_program_upgraded_meanwhile_are(database: Database) -> None:
    with sqlite3.connect(database.directory / "salience.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("ALTER TABLE collection RENAME TO library")
    connection.close()
    with pytest.raises(StorageError, match="no such table"), database.read() as session:
        session.execute(sa.text("SELECT * FROM collection"))


def test_a_file_that_lacks_its_tables_is(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "salience.db") as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE term")
    connection.close()
    with pytest.raises(StorageError):
        Database.open(tmp_path)
    with pytest.raises(StorageError, match="no such table"), open_read_only(tmp_path) as opened:
        opened.execute("SELECT * FROM term")
