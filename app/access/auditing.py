"""Notes of what administrators do, beside the doing.

Noted is what takes the role admin, by HTTP or on the command line, and what a command does to the data directory as a
whole: backup, restore, repair. Documents and jobs are the business of the role ingest; upgrading, merging and
compacting are done unasked as well, and change nothing that anybody sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import SalienceError, StorageError
from store.audit import DONE, LOCAL, note_action
from store.database import Database
from store.faults import database_errors
from store.migrate import SCHEMA_VERSION
from store.readonly import open_read_only, schema_version


@contextmanager
def audited(database: Database, who: str, action: str, target: str) -> Iterator[None]:
    """Notes what came of the work in the `with`: done, or the code of the error that ended it.

    `target`: a collection's stored name, a key's prefix; never a text. An action that changes the database in a
    transaction of its own is noted right behind it: a process that is killed in between leaves the deed without a note.
    """
    try:
        yield
    except SalienceError as error:
        _note(database, who, action, target, error.code)
        raise
    _note(database, who, action, target, DONE)


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


def _note(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    with database.write() as session:
        note_action(session, at=time.time(), who=who, action=action, target=target, outcome=outcome)
