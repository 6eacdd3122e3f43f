"""Damage to a database: what is changed behind the store's back, and what verify says of it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from store import schema
from store.checksum import covered_columns, row_checksum
from store.migrate import SCHEMA_VERSION
from store.verify import Verification

DAMAGE = {
    "a title": ("UPDATE document SET title = 'another' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "a text": ("UPDATE document SET text = text || '.' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "metadata": ("UPDATE document SET metadata = '{}' WHERE id = 5", "'book-4' of 'books': its title, text, metadata"),
    "a text's type": ("UPDATE document SET title = CAST(title AS BLOB) WHERE id = 5", "its title, text, metadata"),
    "a vector": ("UPDATE embedding SET dense = zeroblob(32) WHERE id = 5", "embedding 5 of 'books', of 'book-"),
    "terms": (
        "UPDATE embedding SET sparse = x'' WHERE id = 5",
        "its vector, terms or weights are not what was written",
    ),
    "a missing checksum": ("UPDATE embedding SET checksum = x'' WHERE id = 5", "are not what was written"),
    "a waiting batch": ("UPDATE job_batch SET payload = x'5b5d'", "batch 2 of job 1: is not what was written"),
    "an error's reason": ("UPDATE job_notice SET reason = 'none' WHERE id = 1", "notice 1 of job 1: is not what was"),
}
SENSELESS = {
    "a longer vector": ("UPDATE embedding SET dense = zeroblob(36) WHERE id = 5", "its vector has 36 bytes; 8 dim"),
    "no direction": ("UPDATE embedding SET dense = zeroblob(32) WHERE id = 5", "its vector has the length 0; it"),
    "half a posting": ("UPDATE embedding SET sparse = x'0100' WHERE id = 5", "its terms take 2 bytes"),
    "an unknown term": (
        "UPDATE embedding SET sparse = x'ffffff000000803f' WHERE id = 5",
        "its terms have an id that the collection does not know",
    ),
    "terms out of order": (
        "UPDATE embedding SET sparse = x'020000000000803f010000000000803f' WHERE id = 5", "its terms are not in order",
    ),
    "0.3 of a word": ("UPDATE embedding SET sparse = x'010000009a99993e' WHERE id = 5", "a weight that cannot be"),
    "a negative weight": (
        "UPDATE embedding SET learned = x'01000000000000bf' WHERE learned IS NOT NULL",
        "its learned weights have a weight that cannot be",
    ),
    "no learned weights": ("UPDATE embedding SET learned = NULL WHERE learned IS NOT NULL", "has learned weights, or"),
    "a lost embedding": ("DELETE FROM embedding WHERE id = 5", "has no embedding: no search finds it"),
    "a span beyond the text": ('UPDATE passage SET "end" = 9999 WHERE id = 9', "is not within 0 to"),
    "passages in disorder": ('UPDATE passage SET start = 0, fresh = 0 WHERE id = 9', "begins or ends before the one"),
    "a document without passages": ("DELETE FROM passage WHERE document_id = 5", "'book-4' of 'books': has no passage"),
    "a filter's value": ("UPDATE document_field SET number = 7 WHERE number > 1880", "the values that filters compare"),
    "a filter's lost value": ("DELETE FROM document_field WHERE document_id = 5", "the values that filters compare"),
    "broken metadata": ("UPDATE document SET metadata = '{' WHERE id = 5", "its metadata is not what Salience stores"),
    "a lost arrival": ("DELETE FROM change WHERE seq = 3", "is stored, and is not there by the log"),
    "a departure": ("UPDATE change SET operation = '-' WHERE operation = '='", "is stored, and is not there"),
    "a lost departure": ("DELETE FROM change WHERE operation = '-'", "is there by the log, and is not stored"),
    "a second arrival": (
        "INSERT INTO change (generation_id, operation, passage_id) VALUES (1, '+', 1)", "in an order that cannot be",
    ),
    "an unknown operation": ("UPDATE change SET operation = '*' WHERE seq = 3", "in an order that cannot be"),
    "no active generation": ("UPDATE generation SET state = 'retired'", "has 0 active generations; it must have one"),
    "an unknown state": ("UPDATE generation SET state = 'activf'", "its state is 'activf'"),
    "settings": ("UPDATE collection SET settings = replace(settings, '\"k1\": 1', '\"k1\": -1')", "k1 -1.2: must be"),
    "settings that are none": ("UPDATE collection SET settings = '[]'", "its settings cannot be read"),
    "a sparse model without use": ("UPDATE generation SET sparse_model = 'm' WHERE id = 1", "does not fit the setting"),
    "a job's state": ("UPDATE job SET state = 'donf' WHERE id = 1", "job 1: its state is 'donf'"),
    "a job's count": ("UPDATE job SET pending = 3 WHERE id = 1", "3 documents wait by its count, 1 are there"),
    "a job's sum": ("UPDATE job SET created = 40 WHERE id = 1", "neither wait, nor failed, nor were committed"),
    "a lost error": ("DELETE FROM job_notice WHERE id = 1", "job 1: lists 1 notices of kind error"),
    "a batch of another size": ("UPDATE job_batch SET documents = 2", "does not hold 2 documents"),
    "a lowered counter": ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'passage'", "the counter of passage stands"),
    "a lost counter": ("DELETE FROM sqlite_sequence WHERE name = 'change'", "the counter of change stands at 0"),
    "a lost document": ("DELETE FROM document WHERE id = 5", "refers to a row of document that is not there"),
    "a lost index": ("DROP INDEX passage_sha", "index passage_sha: its definition is missing"),
    "a table of others": ("CREATE TABLE recipe (id INTEGER)", "table recipe: its definition is not ours"),
    "two versions": ("INSERT INTO alembic_version VALUES ('0001')", f"it must hold {SCHEMA_VERSION} alone"),
}  # fmt: skip


def change(directory: Path, statement: str, *parameters: object, sealed: bool = True) -> None:
    """Change rows behind the store's back; `sealed`: with checksums that fit what is there then."""
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement, parameters).rowcount != 0, "the statement must change something"
        if sealed:
            connection.create_function("row_checksum", -1, row_checksum)
            for table in schema.metadata.tables.values():
                if covered := covered_columns(table):
                    connection.execute(f"UPDATE {table.name} SET checksum = row_checksum({', '.join(covered)})")


def alter_unnoticed(directory: Path, index: str, statement: str) -> None:
    """Change rows, and leave one index as it was."""
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        (root, definition, table) = connection.execute(
            "SELECT rootpage, sql, tbl_name FROM sqlite_master WHERE name = ?", [index]
        ).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", [index])
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")
    with closing(sqlite3.connect(directory / "salience.db", isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('index', ?, ?, ?, ?)",
            [index, table, root, definition],
        )
        connection.execute(f"PRAGMA schema_version = {version + 2}")


def filled_places(directory: Path, good: bytes) -> Iterator[int]:
    """Some bytes of the cells of every table and index."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        names = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    rng = random.Random(5)
    for _, root in names:
        page = good[(root - 1) * size : root * size]
        filled = [place for place, byte in enumerate(page) if byte]
        yield from ((root - 1) * size + place for place in rng.sample(filled, min(8, len(filled))))


def problems(done: Verification) -> list[str]:
    return [f"{finding.check}: {finding.where}: {finding.problem}" for finding in done.findings]
