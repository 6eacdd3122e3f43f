"""Data directories of older versions, with data in them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import migrations
from core.records import SparseScoring
from store import Database, Views
from store.catalog import get_collection
from store.migrate import APPLICATION_ID
from tests.store.library import DIMENSION, FINGERPRINT, Item, put, sha_of, vector_of


def write_first_version(directory: Path) -> None:
    """A data directory as 0001 left it: a collection with two documents, and its settings without later fields."""
    directory.mkdir()
    engine = create_engine(f"sqlite:///{directory / 'salience.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    settings = {
        "language": "auto",
        "passage_tokens": None,
        "overlap_tokens": 32,
        "whole_documents": False,
        "k1": 1.2,
        "b": 0.75,
        "fields": {"year": "number"},
    }
    with sqlite3.connect(directory / "salience.db") as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        values = [json.dumps(settings), "2026-01-01T00:00:00+00:00"]
        old.execute("INSERT INTO collection VALUES (1, 'books', ?, ?)", values)
        old.execute("INSERT INTO generation VALUES (1, 1, 'test', ?, ?, 'active')", [FINGERPRINT, DIMENSION])
        old.execute("INSERT INTO term VALUES (1, 1, 'whale')")
        for i, text in enumerate(["whale whale", "ship"], start=1):
            old.execute("INSERT INTO document VALUES (?, 1, ?, 'en', ?, '', '{}', ?)", [i, f"d{i}", sha_of(text), text])
            old.execute("INSERT INTO passage VALUES (?, ?, 0, ?, 0, ?)", [i, i, len(text), sha_of(text)])
            old.execute(
                "INSERT INTO embedding VALUES (?, 1, ?, ?, ?)",
                [
                    i,
                    sha_of(text),
                    vector_of(text).tobytes(),
                    np.array([(1, 2.0)], [("t", "<i4"), ("f", "<f4")]).tobytes() if i == 1 else b"",
                ],
            )
            old.execute("INSERT INTO change VALUES (?, 1, '+', ?)", [i, i])
    old.close()


def test_a_directory_of_the_first_version_is_upgraded_and_answers_as_before(tmp_path: Path) -> None:
    write_first_version(tmp_path / "data")
    for _ in range(2):  # the second time there is nothing left to do
        database = Database.open(tmp_path / "data")
        with database.read() as session:
            collection = get_collection(session, "books")
        assert collection.settings.sparse is SparseScoring.BM25
        assert collection.settings.fields == {"year": "number"}
        assert (collection.active.sparse_model, collection.active.sparse_fingerprint) == (None, None)
        with Views(database).open("books") as view:
            assert view.matching({"whale": 1.0}, 10).ids.tolist() == [1]
            np.testing.assert_array_equal(view.vectors(np.array([1, 2])), [vector_of("whale whale"), vector_of("ship")])
            assert [hit.text for hit in view.fetch(np.array([1, 2]))] == ["whale whale", "ship"]
        database.close()


def test_an_upgraded_directory_takes_new_documents(tmp_path: Path) -> None:
    write_first_version(tmp_path / "data")
    database = Database.open(tmp_path / "data")
    with database.read() as session:
        collection = get_collection(session, "books")
    receipt = put(database, collection, Item(id="d3", text="whale"), Item(id="d1", text="whale whale"))
    assert (receipt.created, receipt.unchanged) == (1, 1)
    with Views(database).open("books") as view:
        pool = view.matching({"whale": 1.0}, 10)
        assert [hit.document_id for hit in view.fetch(pool.ids)] == ["d1", "d3"]
    database.close()


def test_a_failed_upgrade_leaves_the_old_version(tmp_path: Path) -> None:
    write_first_version(tmp_path / "data")
    file = tmp_path / "data" / "salience.db"
    with sqlite3.connect(file) as old:
        old.execute("ALTER TABLE embedding ADD COLUMN learned BLOB")  # the upgrade's last step will stumble over it
    old.close()
    with pytest.raises(Exception, match="learned"):
        Database.open(tmp_path / "data")
    with sqlite3.connect(file) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        columns = [row[1] for row in old.execute("PRAGMA table_info(generation)")]
    old.close()
    assert "sparse_model" not in columns
