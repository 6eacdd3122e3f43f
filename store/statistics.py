"""What a data directory holds and how much room each kind of it takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from store import schema
from store.directory import DATABASE_NAME
from store.readonly import open_read_only, schema_version

# Tables with their indexes, by what a person calls them.
_KINDS = {
    "document": "documents",
    "passage": "passages",
    "field": "fields",
    "document_field": "fields",
    "term": "terms",
    "embedding": "embeddings",
    "change": "change log",
    "job": "jobs",
    "job_batch": "jobs",
    "job_notice": "jobs",
}
_OTHER = "catalogue"  # collections, generations, the schema itself


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionStatistics:
    """Of one collection; the embeddings' bytes are those of their content."""

    name: str
    documents: int
    passages: int
    embeddings: int  # of all generations; passages with the same text share one
    terms: int
    seq: int  # of the newest change of its active generation; 0 before the first
    vector_bytes: int
    posting_bytes: int  # of terms
    learned_bytes: int  # of learned weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Of one committed state."""

    version: str | None  # of the schema
    file_bytes: int
    wal_bytes: int  # what waits to be folded into the file; 0 where there is none
    free_bytes: int  # pages of the file that hold nothing, and are used before it grows
    bytes_by_kind: Mapping[str, int] | None  # with indexes: all pages but the free ones; None: this SQLite cannot tell
    collections: tuple[CollectionStatistics, ...]  # by name
    seq: int  # of the newest change of all
    jobs: Mapping[str, int]  # how many are in each state that occurs


def statistics(directory: Path) -> Statistics:
    """Reads every page once, so it takes as long as reading the file. Raises StorageError."""
    with open_read_only(directory) as connection:
        connection.execute("BEGIN")
        page_bytes, pages, free = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
        version = schema_version(connection)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        jobs = "SELECT state, COUNT(*) FROM job GROUP BY state ORDER BY state"
        found = Statistics(
            version=version,
            file_bytes=page_bytes * pages,
            wal_bytes=_size(directory / f"{DATABASE_NAME}-wal"),
            free_bytes=page_bytes * free,
            bytes_by_kind=_bytes_by_kind(connection),
            collections=tuple(_collections(connection)),
            seq=connection.execute("SELECT COALESCE(MAX(seq), 0) FROM change").fetchone()[0],
            jobs=dict(connection.execute(jobs)) if schema.job.name in tables else {},
        )
        connection.execute("ROLLBACK")
        return found


def _bytes_by_kind(connection: sqlite3.Connection) -> dict[str, int] | None:
    tables = dict(connection.execute("SELECT name, tbl_name FROM sqlite_master"))
    try:
        sizes = connection.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None  # built without dbstat
    kinds = dict.fromkeys([*_KINDS.values(), _OTHER], 0)
    for name, size in sizes:
        kinds[_KINDS.get(tables.get(name, name), _OTHER)] += size
    return kinds


def _collections(connection: sqlite3.Connection) -> list[CollectionStatistics]:
    learned = "learned" in {row[1] for row in connection.execute("PRAGMA table_info(embedding)")}
    sizes = "COUNT(*), COALESCE(SUM(LENGTH(dense)), 0), COALESCE(SUM(LENGTH(sparse)), 0)"
    sizes += f", COALESCE(SUM(LENGTH({'learned' if learned else 'NULL'})), 0)"
    rows = []
    for id_, name in connection.execute("SELECT id, name FROM collection ORDER BY name").fetchall():
        generations = "generation_id IN (SELECT id FROM generation WHERE collection_id = ?)"
        of_embeddings = connection.execute(f"SELECT {sizes} FROM embedding WHERE {generations}", [id_]).fetchone()
        documents, passages, terms, seq = (
            connection.execute(statement, [id_]).fetchone()[0]
            for statement in (
                "SELECT COUNT(*) FROM document WHERE collection_id = ?",
                "SELECT COUNT(*) FROM passage JOIN document ON document.id = document_id WHERE collection_id = ?",
                "SELECT COUNT(*) FROM term WHERE collection_id = ?",
                "SELECT COALESCE(MAX(seq), 0) FROM change JOIN generation ON generation.id = generation_id "
                "WHERE collection_id = ? AND state = 'active'",
            )
        )
        rows.append(
            CollectionStatistics(
                name=name,
                documents=documents,
                passages=passages,
                embeddings=of_embeddings[0],
                terms=terms,
                seq=seq,
                vector_bytes=of_embeddings[1],
                posting_bytes=of_embeddings[2],
                learned_bytes=of_embeddings[3],
            )
        )
    return rows


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
