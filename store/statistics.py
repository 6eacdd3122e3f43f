"""Statistics of a data directory: what it holds, and how much disk space each kind of data takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import CollectionNotFound
from core.unicode import is_unicode
from store import schema
from store.directory import DATABASE_NAME, SEGMENTS
from store.jobs import UNENDED
from store.leftovers import Leftover, leftovers
from store.maintenance import maintained_by
from store.processes import Process, processes
from store.readonly import open_read_only, schema_version
from store.segments.files import strays
from store.segments.rows import SegmentState

# Tables, with their indexes, by the name shown to users.
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
    "term_count": "terms",
}
_OTHER = "catalogue"  # collections, generations, the schema itself
_THERE = "id IN (SELECT collection_id FROM generation WHERE state = 'active')"  # not deleted: those go in pieces


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionStatistics:
    """Statistics of one collection; bytes of embeddings are those of their content."""

    name: str
    documents: int
    passages: int
    embeddings: int  # passages with the same text share one
    terms: int
    seq: int  # of the newest change of its active generation; 0 before the first
    vector_bytes: int
    posting_bytes: int  # of terms
    learned_bytes: int  # of learned weights
    segments: SegmentStatistics
    unsealed: int  # passages neither in a segment nor in an external engine: read from the database at start-up
    elsewhere: int = 0  # live passages in the collection's external engine


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentStatistics:
    """Statistics of the active segments."""

    files: int = 0
    rows: int = 0  # passages in them
    tombstones: int = 0  # rows whose passage was removed
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStatistics:
    """Statistics of all files in segments/."""

    bytes: int
    retired: int  # segments that were replaced; their files are removed soon
    strays: int  # files that belong to no segment: being written, or left behind
    stray_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Statistics of one committed state."""

    version: str | None  # of the schema
    file_bytes: int
    wal_bytes: int  # size of the write-ahead log; 0 where there is none
    free_bytes: int  # free pages of the file, which are reused before it grows
    bytes_by_kind: Mapping[str, int] | None  # all pages but the free ones, with indexes; None: SQLite lacks dbstat
    collections: tuple[CollectionStatistics, ...]  # by name
    deleted: int  # collections that were deleted, but still have rows
    seq: int  # of the newest change of all
    jobs: Mapping[str, int]  # how many are in each state that occurs
    waiting_documents: int  # in jobs that are being received, wait, or are worked on
    segment_files: FileStatistics
    leftovers: tuple[Leftover, ...]  # unfinished files, left behind or still being written
    processes: tuple[Process, ...]  # the long-lived processes that have the directory open
    maintained_by: str | None  # the holder of the maintenance lock now, such as "4711 on host"


def collection_statistics(directory: Path, name: str) -> CollectionStatistics:
    """Statistics of one collection; counts rows without reading them. Raises CollectionNotFound, StorageError."""
    with open_read_only(directory) as connection:
        connection.execute("BEGIN")
        found = _collections(connection, _tables(connection), name=name) if is_unicode(name) else []
        connection.execute("ROLLBACK")
    if not found:
        raise CollectionNotFound(f"there is no collection {name!r:.140}", param="collection")
    return found[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Disk space in use, and the segments of each collection."""

    file_bytes: int
    free_bytes: int
    wal_bytes: int
    segment_bytes: int  # of all files in segments/
    segments: Mapping[str, SegmentStatistics]  # by collection


def room(directory: Path) -> Room:
    """Measure the disk space, without reading the whole database. Raises StorageError."""
    with open_read_only(directory) as connection:
        connection.execute("BEGIN")
        page_bytes, pages, free = _pages(connection)
        collections = connection.execute(f"SELECT name, id FROM collection WHERE {_THERE} ORDER BY name").fetchall()
        found = Room(
            file_bytes=page_bytes * pages,
            free_bytes=page_bytes * free,
            wal_bytes=_size(directory / f"{DATABASE_NAME}-wal"),
            segment_bytes=sum(map(_size, (directory / SEGMENTS).glob("*"))),
            segments={name: _segments(connection, id_)[0] for name, id_ in collections},
        )
        connection.execute("ROLLBACK")
        return found


def statistics(directory: Path) -> Statistics:
    """Collect all statistics. Reads every page once, so it takes as long as reading the file. Raises StorageError."""
    with open_read_only(directory) as connection:
        connection.execute("BEGIN")
        page_bytes, pages, free = _pages(connection)
        version = schema_version(connection)
        tables = _tables(connection)
        jobs = "SELECT state, COUNT(*) FROM job GROUP BY state ORDER BY state"
        found = Statistics(
            version=version,
            file_bytes=page_bytes * pages,
            wal_bytes=_size(directory / f"{DATABASE_NAME}-wal"),
            free_bytes=page_bytes * free,
            bytes_by_kind=_bytes_by_kind(connection),
            collections=tuple(_collections(connection, tables)),
            deleted=connection.execute(f"SELECT COUNT(*) FROM collection WHERE NOT {_THERE}").fetchone()[0],
            seq=connection.execute("SELECT COALESCE(MAX(seq), 0) FROM change").fetchone()[0],
            jobs=dict(connection.execute(jobs)) if schema.job.name in tables else {},
            waiting_documents=_waiting_documents(connection) if schema.job.name in tables else 0,
            segment_files=_segment_files(connection, directory, tables),
            leftovers=tuple(leftovers(directory)),
            processes=tuple(processes(directory)),
            maintained_by=maintained_by(directory),
        )
        connection.execute("ROLLBACK")
        return found


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _pages(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Bytes per page, number of pages, and how many of them are free."""
    names = ("page_size", "page_count", "freelist_count")
    page_bytes, pages, free = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return page_bytes, pages, free


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


def _waiting_documents(connection: sqlite3.Connection) -> int:
    """Like store.jobs.queued_documents, for a schema that may be older."""
    states = ", ".join(f"'{state}'" for state in UNENDED)
    statement = f"SELECT COALESCE(SUM(pending), 0) FROM job WHERE state IN ({states})"
    return int(connection.execute(statement).fetchone()[0])


def _segment_files(connection: sqlite3.Connection, directory: Path, tables: set[str]) -> FileStatistics:
    states = {}
    if schema.segment.name in tables:
        states = dict(connection.execute("SELECT name, state FROM segment").fetchall())
    of_nobody = strays(directory, states)
    files = (directory / SEGMENTS).glob("*")
    return FileStatistics(
        bytes=sum(map(_size, files)),
        retired=sum(state == SegmentState.RETIRED.value for state in states.values()),
        strays=len(of_nobody),
        stray_bytes=sum(map(_size, of_nobody)),
    )


def _segments(connection: sqlite3.Connection, collection_id: int) -> tuple[SegmentStatistics, int]:
    """The segments of the active generation, and the number of its live passages in them."""
    (generation,) = connection.execute(
        "SELECT id FROM generation WHERE collection_id = ? AND state = 'active'", [collection_id]
    ).fetchone()
    files, rows, size, sealed = connection.execute(
        "SELECT COUNT(*), COALESCE(SUM(rows), 0), COALESCE(SUM(bytes), 0), MAX(seq) FROM segment "
        "WHERE generation_id = ? AND state = 'active'",
        [generation],
    ).fetchone()
    (live,) = connection.execute(
        "SELECT COUNT(*) FROM change JOIN passage ON passage.id = passage_id "
        "WHERE generation_id = ? AND operation = '+' AND seq <= ?",
        [generation, sealed],
    ).fetchone()
    return SegmentStatistics(files=files, rows=rows, tombstones=rows - live, bytes=size), live


def _elsewhere(connection: sqlite3.Connection, collection_id: int) -> int | None:
    """Number of live passages of the active generation in an external engine; None: no engine holds it."""
    (found,) = connection.execute(
        "SELECT (SELECT COUNT(*) FROM change JOIN passage ON passage.id = passage_id "
        "WHERE change.generation_id = generation.id AND operation = '+' AND change.seq <= passage_index.seq) "
        "FROM passage_index JOIN generation ON generation.id = passage_index.generation_id "
        "WHERE collection_id = ? AND state = 'active'",
        [collection_id],
    ).fetchone() or (None,)
    return None if found is None else int(found)


def _collections(
    connection: sqlite3.Connection, tables: set[str], *, name: str | None = None
) -> list[CollectionStatistics]:
    learned = "learned" in {row[1] for row in connection.execute("PRAGMA table_info(embedding)")}
    sizes = "COUNT(*), COALESCE(SUM(LENGTH(dense)), 0), COALESCE(SUM(LENGTH(sparse)), 0)"
    sizes += f", COALESCE(SUM(LENGTH({'learned' if learned else 'NULL'})), 0)"
    rows = []
    collections = f"SELECT id, name FROM collection WHERE name = COALESCE(?, name) AND {_THERE} ORDER BY name"
    for id_, own_name in connection.execute(collections, [name]).fetchall():
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
        segments, live = SegmentStatistics(), 0
        if schema.segment.name in tables:
            segments, live = _segments(connection, id_)
        elsewhere = _elsewhere(connection, id_) if schema.passage_index.name in tables else None
        rows.append(
            CollectionStatistics(
                name=own_name,
                documents=documents,
                passages=passages,
                embeddings=of_embeddings[0],
                terms=terms,
                seq=seq,
                vector_bytes=of_embeddings[1],
                posting_bytes=of_embeddings[2],
                learned_bytes=of_embeddings[3],
                segments=segments,
                unsealed=passages - (live if elsewhere is None else elsewhere),
                elsewhere=elsewhere or 0,
            )
        )
    return rows


def _size(file: Path) -> int:
    """The file's size; 0 where it does not exist."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
