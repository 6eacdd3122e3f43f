"""The audit log: what administrators did and with what outcome. Stored with the data and never changed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from store import schema
from store.database import ReadSession, WriteSession

LOCAL = "local command"  # the actor, where the command ran on the data directory itself
DONE = "done"
_MAX_CHARACTERS = 300  # of a target: it comes from a request and may be of any length


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """Something that an administrator did, or tried to do."""

    id: int
    at: float  # seconds since 1970
    who: str  # "key PREFIX", "token", "anonymous" or LOCAL
    action: str  # such as collection.delete
    target: str  # a collection, a key's prefix
    outcome: str  # DONE, or the code of the error


def note_action(session: WriteSession, *, at: float, who: str, action: str, target: str, outcome: str = DONE) -> None:
    shown = target.encode("utf-8", "backslashreplace").decode()[:_MAX_CHARACTERS]
    row = {"at": at, "who": who, "action": action, "target": shown, "outcome": outcome}
    session.execute(sa.insert(schema.audit), row)


def list_actions(session: ReadSession, *, limit: int, before: int | None = None) -> list[Action]:
    """The newest first, at most `limit`; `before`: only those with a lower id."""
    audit = schema.audit.c
    statement = sa.select(schema.audit).order_by(audit.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(audit.id < min(before, schema.MAX_ID))
    return [Action(**row._mapping) for row in session.execute(statement)]
