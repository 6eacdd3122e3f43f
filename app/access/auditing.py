"""Notes of what administrators do, beside the doing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import SalienceError
from store.audit import DONE, note_action
from store.database import Database


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


def _note(database: Database, who: str, action: str, target: str, outcome: str) -> None:
    with database.write() as session:
        note_action(session, at=time.time(), who=who, action=action, target=target, outcome=outcome)
