"""The doctor's checks of the data directory: is it usable, which processes have it open, who may access it."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from app.operation.doctor import Diagnosis, Level
from app.operation.process import bound, is_local
from app.settings import Settings
from core.errors import StorageError
from store.directory import DATABASE_NAME, check_directory
from store.faults import file_errors
from store.filesystem import check_local
from store.leftovers import leftovers
from store.maintenance import maintained_by
from store.migrate import SCHEMA_VERSION
from store.permissions import unusable, user_of
from store.processes import Process, processes
from store.readonly import open_read_only, schema_version
from store.wal import check_log

LARGE_LOG_BYTES = 256 * 2**20  # write-ahead log size above which to warn
_NAMED = 5  # unusable files that are named


def data_directory(settings: Settings) -> Iterator[Diagnosis]:
    """Check the directory, its schema, its write-ahead log and leftovers. Creates nothing.

    Reports as a failure, or raises as a StorageError, whatever would keep a server from using it.
    """
    finding = partial(Diagnosis, name="data directory")
    directory = settings.data_dir
    with file_errors(directory):
        if not settings.allow_network_file_system:
            check_local(directory)
        there = (directory / DATABASE_NAME).exists()
        if not there:
            check_log(directory)  # an existing database is checked when it is opened
        check_directory(directory)
        if not there:
            place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
            with tempfile.TemporaryFile(dir=place):  # a file without a name
                pass
            yield finding(level=Level.OK, text=f"{directory} holds no data yet", advice="add some: salience add PATH")
            return
    with open_read_only(directory) as connection:
        schema = schema_version(connection)
        sound = connection.execute("PRAGMA schema_version").fetchone() is not None
    if schema is None or not sound:
        yield finding(level=Level.FAIL, text=f"{directory} is no data directory of Salience", advice="name another")
    elif schema == SCHEMA_VERSION:
        yield finding(level=Level.OK, text=f"schema {schema}; SQLite {sqlite3.sqlite_version}")
    elif schema < SCHEMA_VERSION:
        advice = "it is upgraded when it is opened next, after a backup; or now: salience migrate"
        yield finding(level=Level.WARN, text=f"schema {schema}, this program's is {SCHEMA_VERSION}", advice=advice)
    else:
        advice = "upgrade the program"
        yield finding(level=Level.FAIL, text=f"schema {schema} is newer than {SCHEMA_VERSION}", advice=advice)
    log = _size(directory / f"{DATABASE_NAME}-wal")
    large = log > LARGE_LOG_BYTES
    advice = (
        "a process keeps a read transaction open, or nobody maintains the directory: salience compact" if large else ""
    )
    yield Diagnosis(
        name="write-ahead log", level=Level.WARN if large else Level.OK, text=f"{log >> 20} MiB", advice=advice
    )
    old = leftovers(directory)
    if old:
        text = f"{len(old)} unfinished, {sum(one.bytes for one in old) >> 20} MiB"
        yield Diagnosis(name="leftovers", level=Level.OK, text=text, advice="they go after a day; salience stats")


def permissions(settings: Settings) -> Iterator[Diagnosis]:
    """Check for files that the service's user cannot use, as after a command run by root. Even readers write locks."""
    directory = settings.data_dir
    if not (directory / DATABASE_NAME).exists():
        return
    found, user = unusable(directory), user_of(directory)
    if not found:
        yield Diagnosis(name="permissions", level=Level.OK, text=f"the user {user} can write to all of it")
        return
    named = [f"{one.path.relative_to(directory)} (of {one.owner})" for one in found[:_NAMED]]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    yield Diagnosis(
        name="permissions",
        level=Level.FAIL,
        text=f"the user {user} cannot use, in {directory}: {', '.join(named)}{more}",
        advice=f"chown -R {user}: {directory}; and run commands as {user}, not as root",
    )


def others(settings: Settings) -> Iterator[Diagnosis]:
    """Check the processes that have the directory open, and that one of them maintains it."""
    if not settings.data_dir.is_dir():
        return
    there = processes(settings.data_dir)
    ours = Process.this(kind="doctor", version=version("salience"), schema=SCHEMA_VERSION)
    for one in there:
        fits = ours.goes_with(one)
        advice = "" if fits else f"stop it: this program is version {ours.version}, schema {ours.schema}"
        yield Diagnosis(name="process", level=Level.OK if fits else Level.FAIL, text=str(one), advice=advice)
    try:
        owner = maintained_by(settings.data_dir)
    except StorageError as error:
        yield Diagnosis(name="maintenance", level=Level.FAIL, text=error.message)
        return
    lonely = owner is None and bool(there)
    text = owner or ("nobody maintains the data directory" if lonely else "nobody, as no server or worker runs")
    advice = "restart one of the processes above" if lonely else ""
    yield Diagnosis(name="maintenance", level=Level.FAIL if lonely else Level.OK, text=text, advice=advice)


def access(settings: Settings) -> Iterator[Diagnosis]:
    """Check for guessable tokens, and for a server that other machines can reach without authentication."""
    auth, host = settings.auth, settings.server.host
    if auth.weak:
        advice = "make one of 16 characters or more"
        yield Diagnosis(name="tokens", level=Level.WARN, text="a token is short enough to be guessed", advice=advice)
    if auth.accepted or _local(host) or _has_keys(settings.data_dir):
        return
    reached = f"{host} can be reached from other machines, and no key or token is asked for"
    advice = "make a key: salience key create operator --role admin; or set SALIENCE_AUTH__TOKENS"
    if settings.server.allow_anonymous:
        text = f"{reached}: all who reach it may do everything (SALIENCE_SERVER__ALLOW_ANONYMOUS)"
        yield Diagnosis(name="access", level=Level.WARN, text=text, advice=advice)
    else:
        text = f"{reached}: salience serve refuses to start without --allow-anonymous"
        yield Diagnosis(name="access", level=Level.FAIL, text=text, advice=advice)


CHECKS = (data_directory, permissions, others, access)


def _local(host: str) -> bool:
    """Whether only this machine reaches the address; also True if it cannot be bound, which the port check reports."""
    try:
        with bound(host, 0) as listener:
            return is_local(listener)
    except OSError:
        return True


def _has_keys(directory: Path) -> bool:
    """Whether an API key was ever created, so that authentication is required."""
    if not (directory / DATABASE_NAME).exists():
        return False
    with open_read_only(directory) as connection:
        if schema_version(connection) != SCHEMA_VERSION:  # the table may not exist yet
            return False
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM api_key)").fetchone()[0])


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
