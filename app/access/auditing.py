"""Notes of what administrators do, beside the doing.

Noted is what takes the role admin, by HTTP or on the command line, and what a command does to the data directory as a
whole: backup, restore, repair. Documents and jobs are the business of the role ingest; upgrading, merging and
compacting are done unasked as well, and change nothing that anybody sees.
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
    """A write transaction with the note of what it does: there are both, or neither. What ends it is noted behind it.

    `target`: a collection's stored name, an alias, a key's prefix. What could not be one of these is not noted.
    """
    with failure_noted(database, who, action, target), database.write() as session:
        yield session
        note_action(session, at=time.time(), who=who, action=action, target=_named(target))


@contextmanager
def audited(database: Database, who: str, action: str, target: str) -> Iterator[None]:
    """As `audited_write`, for work with transactions of its own: what came of it is noted behind it.

    A process that is killed in between leaves the deed without a note, and so does a note that cannot be written: the
    deed is done all the same, and whoever asked for it is not to repeat it.
    """
    with failure_noted(database, who, action, target):
        yield
    _note_if_possible(database, who, action, _named(target), DONE)


@contextmanager
def failure_noted(database: Database, who: str, action: str, target: str) -> Iterator[None]:
    """An error that ends the block is noted by its code; what is done in it is noted there."""
    try:
        yield
    except SalienceError as error:
        _note_if_possible(database, who, action, _named(target), error.code)
        raise


def note_of_directory(
    directory: Path, action: str, target: str, outcome: str = DONE, *, allow_network: bool = False
) -> None:
    """Note what a local command did to all of a data directory, which stays as it is otherwise: it is not upgraded.

    Raises StorageError where it cannot be written to, is damaged, or of another version.
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
    """`target` where it could be a name. What else a request puts in place of one may be any text."""
    return target if is_stored_name(base_name(target)) else NO_NAME


def _note_if_possible(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    try:
        _note(database, who, action, target, outcome)
    except StorageError as error:
        _log.error("the audit log lacks: %s, %s %.140r: %s; %s", who, action, target, outcome, error.message)


def _note(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    with database.write() as session:
        note_action(session, at=time.time(), who=who, action=action, target=target, outcome=outcome)
