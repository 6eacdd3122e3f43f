"""Verify a data directory or a backup: compare stored values with their second copies and with each other.

Each check reads one committed state, in a transaction of its own; others may go on writing meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.errors import SchemaTooNew, StorageCorrupt
from store.directory import DATABASE_NAME
from store.migrate import APPLICATION_ID, SCHEMA_VERSION
from store.passageindex.protocol import PassageIndex
from store.readonly import open_read_only, schema_version
from store.verify.changes import check_changes
from store.verify.documents import check_documents
from store.verify.embeddings import check_embeddings
from store.verify.file import check_catalog, check_file
from store.verify.jobs import check_jobs
from store.verify.passageindex import check_passage_index
from store.verify.reading import Finding, Progress, Reading, Recheck
from store.verify.segments import check_segments

__all__ = ["MAX_FINDINGS", "Finding", "Progress", "Recheck", "Verification", "verify"]

MAX_FINDINGS = 1000  # that each check lists
_CHECKS: dict[str, Callable[[Reading], Iterator[Finding]]] = {
    "collections": check_catalog,
    "documents": check_documents,
    "embeddings": check_embeddings,
    "change log": check_changes,
    "segments": check_segments,
    "passage index": check_passage_index,
    "jobs": check_jobs,
}
_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # a statement that does not fit these tables
    sqlite3.SQLITE_TOOBIG,  # an impossible length of a value
)
_UNCHECKED = (
    "whether vectors, terms and learned weights are what the models make of the texts: that takes the models; "
    "checksums hold that they are what was written",
)
_UNCHECKED_HASHES = "the hashes of documents and passages: nobody who knows how they are made was asked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result: what was checked, and what was found."""

    version: str | None  # of the schema
    findings: tuple[Finding, ...]  # grouped by check
    checked: Mapping[str, int]  # number of documents, passages, ...
    unchecked: tuple[str, ...]  # what was not checked, and why
    notes: tuple[str, ...] = ()  # worth knowing, but no damage

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(
    directory: Path,
    *,
    recheck: Recheck | None = None,
    index: PassageIndex | None = None,
    on_progress: Progress | None = None,
) -> Verification:
    """Check the database in `directory`. Damage is a finding, not an error.

    `recheck`: recomputes documents' hashes. `index`: the engine of collections with the index kind milvus, whose
    content is then checked; without it, or if it does not answer, `unchecked` says so. A file of an older schema has no
    checksums: only its structure and its references are checked, and `unchecked` says so.

    Raises StorageError where there is no database, or it cannot be opened for reading; SchemaTooNew.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(open_read_only(directory))
        except StorageCorrupt as error:  # a damaged log: nothing else can be checked
            finding = Finding(check="log", where=f"{DATABASE_NAME}-wal", problem=error.message)
            return _nothing_else(finding)
        try:
            problem = _stranger(connection)
            version = schema_version(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            problem, version = _damage(error), None
        if problem is not None:
            return _nothing_else(Finding(check="file", where=DATABASE_NAME, problem=problem))
        current = version == SCHEMA_VERSION
        reading = Reading(
            directory=directory,
            connection=connection,
            current=current,
            recheck=recheck,
            index=index,
            on_progress=on_progress,
        )
        findings = _run(reading, "file", check_file, damaged=False)
        if version is None or not version.isdecimal():
            problem = f"its schema version is {version!r}, which is no number"
            findings.append(Finding(check="file", where=DATABASE_NAME, problem=problem))
        elif version > SCHEMA_VERSION and not findings:
            raise SchemaTooNew(
                f"{directory} was written by a newer Salience (schema {version}; this one speaks {SCHEMA_VERSION}); "
                "verify it with that one"
            )
        if current:
            for name, made in _CHECKS.items():
                findings += _run(reading, name, made, damaged=bool(findings))
    return Verification(
        version=version,
        findings=tuple(findings),
        checked=reading.checked,
        unchecked=(*_unchecked(version, recheck), *reading.unchecked),
        notes=tuple(reading.notes),
    )


def check(
    directory: Path,
    *,
    name: Path | None = None,
    recheck: Recheck | None = None,
    on_progress: Progress | None = None,
) -> Verification:
    """Like `verify`, but raises StorageCorrupt for any finding. `name`: how the message names the directory."""
    done = verify(directory, recheck=recheck, on_progress=on_progress)
    if not done.ok:
        first, more = done.findings[0], len(done.findings) - 1
        raise StorageCorrupt(
            f"{name or directory} is damaged: {first.where}: {first.problem}{f' (and {more} more)' if more else ''}; "
            "salience verify shows everything, salience repair mends what it can"
        )
    return done


def _nothing_else(finding: Finding) -> Verification:
    return Verification(version=None, findings=(finding,), checked={}, unchecked=("everything else",))


def _stranger(connection: sqlite3.Connection) -> str | None:
    """Why the file is not one of ours, or None."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        return f"its application id is {application:#x}; Salience writes {APPLICATION_ID:#x}"
    encoding = connection.execute("PRAGMA encoding").fetchone()[0]
    return None if encoding == "UTF-8" else f"its texts are encoded as {encoding}; Salience writes UTF-8"


def _run(reading: Reading, name: str, check: Callable[[Reading], Iterator[Finding]], *, damaged: bool) -> list[Finding]:
    """Run one check in one transaction. `damaged`: earlier checks found damage, so any error may follow from it."""
    findings: list[Finding] = []
    try:
        reading.connection.execute("BEGIN")
        for finding in islice(check(reading), MAX_FINDINGS):
            findings.append(finding)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        findings.append(Finding(check=name, where=DATABASE_NAME, problem=f"cannot be read on: {_damage(error)}"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        if not damaged and not findings:
            raise
        findings.append(Finding(check=name, where=DATABASE_NAME, problem=f"holds what cannot be: {error}"))
    finally:
        if reading.connection.in_transaction:
            reading.connection.execute("ROLLBACK")
    return findings


def _damage(error: sqlite3.DatabaseError | UnicodeDecodeError) -> str:
    """The error's message, if it is about damaged data; re-raises others: busy, no permission, no memory."""
    if isinstance(error, UnicodeDecodeError):  # the driver cannot decode SQLite's message, which quotes the file
        return "its tables' definitions are damaged"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
        raise error
    return str(error)


def _unchecked(version: str | None, recheck: Recheck | None) -> tuple[str, ...]:
    if version != SCHEMA_VERSION:
        return (f"documents, embeddings, jobs and the change log: schema {version} has no checksums",)
    return _UNCHECKED if recheck is not None else (*_UNCHECKED, _UNCHECKED_HASHES)
