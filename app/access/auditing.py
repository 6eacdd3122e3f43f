"""Records administrative actions in the audit log.

Audited are all actions that require the role admin, over HTTP or on the command line, and commands that act on the
whole data directory: backup, restore, repair. Not audited are documents and jobs, which belong to the role ingest, and
upgrading, merging and compacting, which also run automatically and change nothing that users can see.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import SalienceError, StorageError
from core.naming import base_name, is_stored_name
from store.audit import DONE, LOCAL, note_action
from store.database import Database, WriteSession
from store.faults import database_errors
from store.migrate import SCHEMA_VERSION
from store.readonly import open_read_only, schema_version

NO_NAME = "(not a name)"
_log = logging.getLogger(__name__)


@contextmanager
def audited_write(database: Database, who: str, action: str, target: str) -> Iterator[WriteSession]:
    """Open a write transaction that also writes its audit entry: both are committed, or neither.

    If the block raises a SalienceError, its code is recorded in an entry of its own.

    `target`: a collection's stored name, an alias or a key's prefix. Text that cannot be one of these is recorded as
    `NO_NAME`.
    """
    with failure_noted(database, who, action, target), database.write() as session:
        yield session
        note_action(session, at=time.time(), who=who, action=action, target=_named(target))


@contextmanager
def audited(database: Database, who: str, action: str, target: str) -> Iterator[None]:
    """Audit work that has transactions of its own; the outcome is recorded afterwards.

    The entry is lost if the process is killed in between or the entry cannot be written. The latter is only logged:
    the action has been carried out, and its caller must not repeat it.
    """
    with failure_noted(database, who, action, target):
        yield
    _note_if_possible(database, who, action, _named(target), DONE)


@contextmanager
def failure_noted(database: Database, who: str, action: str, target: str) -> Iterator[None]:
    """Record the code of a SalienceError that ends the block; the block itself records its success."""
    try:
        yield
    except SalienceError as error:
        _note_if_possible(database, who, action, _named(target), error.code)
        raise


def note_of_directory(
    directory: Path, action: str, target: str, outcome: str = DONE, *, allow_network: bool = False
) -> None:
    """Record what a local command did to a whole data directory. Does not upgrade the directory.

    Raises StorageError if the directory cannot be written to, is damaged, or has another schema version.
    """
    with open_read_only(directory) as connection, database_errors(directory):
        version = schema_version(connection)
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"the data directory {directory} is of schema {version}, and this program writes another one"
        )
    with closing(Database.open(directory, allow_network=allow_network)) as database:
        _note(database, LOCAL, action, target, outcome)


def _named(target: str) -> str:
    """Return `target` if it could be a name, else `NO_NAME`: a request may contain any text in place of a name."""
    return target if is_stored_name(base_name(target)) else NO_NAME


def _note_if_possible(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    try:
        _note(database, who, action, target, outcome)
    except StorageError as error:
        _log.error("the audit log lacks: %s, %s %.140r: %s; %s", who, action, target, outcome, error.message)


def _note(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    with database.write() as session:
        note_action(session, at=time.time(), who=who, action=action, target=target, outcome=outcome)
