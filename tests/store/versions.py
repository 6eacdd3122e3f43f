"""Data directories as older versions left them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import migrations
from core.records import Float32Array
from store import schema
from store.checksum import covered_columns, row_checksum
from store.migrate import APPLICATION_ID, SCHEMA_VERSION
from tests.store.library import DIMENSION, FINGERPRINT, sha_of, vector_of

VERSIONS = [f"{number:04}" for number in range(1, int(SCHEMA_VERSION))]


def write_version(directory: Path, version: str = "0001") -> None:
    """A data directory as the version left it: two documents in a collection, whose settings lack later fields."""
    directory.mkdir()
    engine = create_engine(f"sqlite:///{directory / 'salience.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
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
        generation = "id, collection_id, model, fingerprint, dimension, state"
        values = [FINGERPRINT, DIMENSION]
        old.execute(f"INSERT INTO generation ({generation}) VALUES (1, 1, 'test', ?, ?, 'active')", values)
        old.execute("INSERT INTO term VALUES (1, 1, 'whale')")
        for i, text in enumerate(["whale whale", "ship"], start=1):
            document = "id, collection_id, external_id, language, content_sha, title, metadata, text"
            values = [i, f"d{i}", sha_of(text), text]
            old.execute(f"INSERT INTO document ({document}) VALUES (?, 1, ?, 'en', ?, '', '{{}}', ?)", values)
            old.execute("INSERT INTO passage VALUES (?, ?, 0, ?, 0, ?)", [i, i, len(text), sha_of(text)])
            old.execute(
                "INSERT INTO embedding (id, generation_id, sha, dense, sparse) VALUES (?, 1, ?, ?, ?)",
                [
                    i,
                    sha_of(text),
                    unit_vector(text).tobytes(),
                    np.array([(1, 2.0)], [("t", "<i4"), ("f", "<f4")]).tobytes() if i == 1 else b"",
                ],
            )
            old.execute("INSERT INTO change VALUES (?, 1, '+', ?)", [i, i])
        if version >= "0004":
            old.create_function("row_checksum", -1, row_checksum)
            for table in (schema.document, schema.embedding):
                there = {row[1] for row in old.execute(f"PRAGMA table_info({table.name})")}
                covered = [name for name in covered_columns(table) if name in there]
                old.execute(f"UPDATE {table.name} SET checksum = row_checksum({', '.join(covered)})")
    old.close()


def version_of(directory: Path) -> str:
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def unit_vector(text: str) -> Float32Array:
    vector = vector_of(text) + np.float32(0.25)  # never zero
    return vector / np.linalg.norm(vector)
