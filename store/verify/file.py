"""Verify the database file (pages, indexes against their tables, references, schema, counters) and the catalogue."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache

import sqlalchemy as sa

from core.errors import InvalidSettings
from core.naming import check_stored_name, is_hidden
from core.records import GenerationState, SparseScoring
from store import schema
from store.migrate import SCHEMA_VERSION
from store.settings import check_settings, parse_settings
from store.verify.reading import Finding, Reading

_LISTED = 100  # problems that SQLite's integrity check lists
_GENERATION_STATES = tuple(GenerationState)
_VERSIONS = "alembic_version"


def check_file(reading: Reading) -> Iterator[Finding]:
    """Run SQLite's own checks, and compare the schema with ours."""
    connection = reading.connection
    reading.tick("file", 0)
    for (problem,) in reading.rows(f"PRAGMA integrity_check({_LISTED})"):
        for line in str(problem).splitlines():
            # "*** in database main ***" is a heading. An index in the wrong order leads to wrong results.
            if line != "ok" and not line.startswith("***"):
                yield Finding(check="file", where="salience.db", problem=line)
    for table, row, parent, _ in reading.rows("PRAGMA foreign_key_check"):
        yield Finding(check="file", where=f"{table} {row}", problem=f"refers to a row of {parent} that is not there")
    if reading.current:
        yield from _schema(connection)
        yield from _counters(reading)
    reading.tick("file", 1, 1)


def check_catalog(reading: Reading) -> Iterator[Finding]:
    """Check collections, their settings and their generations."""
    rows = reading.rows("SELECT id, name, settings FROM collection ORDER BY id")
    for done, (id_, name, settings) in enumerate(rows, start=1):
        for problem in _collection_problems(reading, id_, name, settings):
            yield Finding(check="collections", where=f"collection {name!r}", problem=problem)
        reading.tick("collections", done)


def _collection_problems(reading: Reading, id_: int, name: str, settings: str) -> Iterator[str]:
    sparse = None
    try:
        if not is_hidden(name):
            check_stored_name(name)
        parsed = parse_settings(settings)
        check_settings(parsed)
        sparse = parsed.sparse
    except InvalidSettings as error:
        yield error.message
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield f"its settings cannot be read ({error})"
    generations = list(
        reading.rows(
            "SELECT id, state, dimension, sparse_model, sparse_fingerprint FROM generation WHERE collection_id = ?", id_
        )
    )
    kept = [serving for (serving,) in reading.rows("SELECT serving_id FROM reindexing WHERE hidden_id = ?", id_)]
    if is_hidden(name) and not kept:
        yield "is a hidden generation, and no reindex made or keeps it"
    active = sum(state == GenerationState.ACTIVE.value for _, state, *_ in generations)
    deleted = kept == [None] and {state for _, state, *_ in generations} == {GenerationState.RETIRED.value}
    if active != 1 and not deleted:
        yield f"has {active} active generations; it must have one"
    for generation, state, dimension, model, fingerprint in generations:
        if state not in _GENERATION_STATES:
            yield f"generation {generation}: its state is {state!r}"
        if dimension < 1:
            yield f"generation {generation}: its vectors have {dimension} dimensions"
        learned = (model is not None, fingerprint is not None)
        if sparse is not None and learned != ((sparse is not SparseScoring.BM25),) * 2:
            yield f"generation {generation}: its sparse model does not fit the setting sparse={sparse.value}"


def _schema(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Compare tables, columns, references and indexes with those that this program creates."""
    found, expected = _shape(connection), _expected_shape()
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            what = "is missing" if name not in found else "is not ours" if name not in expected else "is another one"
            yield Finding(check="file", where=name, problem=f"its definition {what}")
    versions = [row[0] for row in connection.execute(f"SELECT version_num FROM {_VERSIONS}")]
    if versions != [SCHEMA_VERSION]:
        yield Finding(check="file", where=_VERSIONS, problem=f"holds {versions}; it must hold {SCHEMA_VERSION} alone")


def newest_given(connection: sqlite3.Connection) -> dict[str, int]:
    """The highest id known to have been assigned, for every table that never reuses ids."""
    newest = {}
    for table in schema.metadata.tables.values():
        if table.dialect_options["sqlite"]["autoincrement"]:
            key = table.primary_key.columns.keys()[0]
            (newest[table.name],) = connection.execute(f"SELECT COALESCE(MAX({key}), 0) FROM {table.name}").fetchone()
    (logged,) = connection.execute("SELECT COALESCE(MAX(passage_id), 0) FROM change").fetchone()
    newest["passage"] = max(newest["passage"], logged)
    return newest


def _counters(reading: Reading) -> Iterator[Finding]:
    """Check the AUTOINCREMENT counters: one that is below an assigned id would assign that id again."""
    counters = dict(reading.rows("SELECT name, seq FROM sqlite_sequence"))
    newest = newest_given(reading.connection)
    for name in sorted(counters.keys() - newest.keys()):
        yield Finding(check="file", where="sqlite_sequence", problem=f"counts {name!r}, which is no table of ours")
    for name, given in sorted(newest.items()):
        counter = counters.get(name, 0)
        if not isinstance(counter, int) or counter < given:
            problem = f"the counter of {name} stands at {counter!r}; {given} was given already"
            yield Finding(check="file", where="sqlite_sequence", problem=problem)


@cache
def _expected_shape() -> dict[str, object]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        schema.metadata.create_all(connection)
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        shape = _shape(driver)
    engine.dispose()
    return shape


def _shape(connection: sqlite3.Connection) -> dict[str, object]:
    """Tables and indexes by name, as SQLite understands them, however their definitions are formatted."""
    shape: dict[str, object] = {}
    statement = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    for kind, name, sql in connection.execute(statement).fetchall():
        if name == _VERSIONS:
            continue
        if kind != "table":
            where = str(sql).partition(" WHERE ")[2]
            columns = [row[2:] for row in connection.execute(f'PRAGMA index_xinfo("{name}")')]
            shape[f"{kind} {name}"] = (columns, " ".join(where.split()))
            continue
        columns = sorted(row[1:] for row in connection.execute(f'PRAGMA table_xinfo("{name}")'))
        references = sorted(row[2:] for row in connection.execute(f'PRAGMA foreign_key_list("{name}")'))
        indexes = sorted(
            (row[2:], [part[2:] for part in connection.execute(f'PRAGMA index_xinfo("{row[1]}")')])
            for row in connection.execute(f'PRAGMA index_list("{name}")')
        )
        shape[f"table {name}"] = (columns, references, indexes, "AUTOINCREMENT" in str(sql).upper())
    return shape
