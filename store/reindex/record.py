"""The table of reindexes: one row for each, kept after it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.errors import ReindexConflict, ReindexNotFound
from core.records import Collection
from core.reindexes import Reindex, ReindexState
from core.unicode import is_unicode
from store import schema
from store.catalog import find_collection
from store.database import ReadSession, WriteSession
from store.visibility import Patterns, held_among

FILLING = (ReindexState.BUILDING, ReindexState.VALIDATING)
# States in which the hidden generation must follow the writes to the serving one.
FOLLOWING = (*FILLING, ReindexState.READY, ReindexState.SWITCHED)
ENDED = (ReindexState.DONE, ReindexState.ROLLED_BACK, ReindexState.CANCELLED, ReindexState.FAILED)


def begin(
    session: WriteSession,
    serving: Collection,
    hidden: Collection,
    *,
    share: float,
    auto_switch: bool,
    grace_seconds: float,
    min_recall: float,
    judgements: str | None,
    min_gain: float | None,
    total: int,
    now: float,
) -> Reindex:
    """Add the row of a new reindex. Raises ReindexConflict where the collection has a hidden generation already."""
    check_free(session, serving)
    values = {
        "collection": serving.name, "serving_id": serving.id, "hidden_id": hidden.id,
        "state": ReindexState.BUILDING.value, "share": share, "auto_switch": auto_switch,
        "grace_seconds": grace_seconds, "min_recall": min_recall, "judgements": judgements, "min_gain": min_gain,
        "created_at": now, **schema.NOT_BEGUN, "total": total,
    }  # fmt: skip
    made = session.execute(sa.insert(schema.reindex), values).inserted_primary_key
    assert made is not None
    return get(session, int(made[0]))


def check_free(session: ReadSession, collection: Collection) -> None:
    """Raises ReindexConflict where the collection has a hidden generation."""
    columns = schema.reindex.c
    row = session.execute(
        sa.select(schema.reindex).where(columns.serving_id == collection.id, columns.hidden_id.is_not(None))
    ).first()
    if row is None:
        return
    present = _of(row)
    if present.state is ReindexState.SWITCHED:
        hint = "the generation before is kept for a rollback: clean it up first, or wait until its grace period is over"
    elif present.state is ReindexState.FAILED:
        hint = "what it made is kept to be looked at: cancel it first"
    elif present.state in ENDED:
        hint = "what it left is being removed: try again in a moment"
    else:
        hint = "let it come to its end, or cancel it"
    raise ReindexConflict(
        f"the collection {collection.name!r} is being reindexed already ({present.state.value}); {hint}",
        param="collection",
    )


def newest(session: ReadSession, collection: str) -> Reindex:
    """The newest reindex of the collection of this name. Raises ReindexNotFound."""
    columns = schema.reindex.c
    if is_unicode(collection):
        found = sa.select(schema.reindex).where(columns.collection == collection).order_by(columns.id.desc()).limit(1)
        for row in session.execute(found):
            return _of(row)
    raise ReindexNotFound(f"the collection {collection!r:.140} was not reindexed", param="collection")


def newest_of_each(session: ReadSession, *, among: Patterns | None = None) -> list[Reindex]:
    """The newest reindex of every existing collection that had one, the newest first.

    `among`: only those of collections with matching names or aliases.
    """
    columns = schema.reindex.c
    seen = sa.true() if among is None else held_among(columns.serving_id, columns.collection, among)
    newest_ids = sa.select(sa.func.max(columns.id)).group_by(columns.collection)
    found = sa.select(schema.reindex).where(columns.id.in_(newest_ids), columns.serving_id.is_not(None), seen)
    return [_of(row) for row in session.execute(found.order_by(columns.id.desc()))]


def get(session: ReadSession, id_: int) -> Reindex:
    """The reindex with this id. Raises ReindexNotFound."""
    for row in session.execute(sa.select(schema.reindex).where(schema.reindex.c.id == id_)):
        return _of(row)
    raise ReindexNotFound(f"there is no reindex {id_}")


def unfinished(session: ReadSession) -> list[Reindex]:
    """Reindexes that still have both generations, so that there may be work to do; least recently served first."""
    columns = schema.reindex.c
    found = sa.select(schema.reindex).where(columns.hidden_id.is_not(None))
    return [_of(row) for row in session.execute(found.order_by(columns.paused_at, columns.id))]


def changed(session: WriteSession, reindex: Reindex, states: Sequence[ReindexState], **values: Any) -> Reindex:
    """Update the row if it is in one of `states` and still has the hidden generation; returns the updated row.

    Raises ReindexConflict if it was cancelled, switched or deleted meanwhile: let it end the transaction.
    """
    columns = schema.reindex.c
    same = (columns.id == reindex.id) & (columns.hidden_id == reindex.hidden_id)
    wanted = columns.state.in_([state.value for state in states])
    row = session.execute(
        sa.update(schema.reindex).where(same, wanted).values(values or {"state": columns.state}).returning(*columns)
    ).first()
    if row is None:
        found = sa.select(columns.state).where(columns.id == reindex.id)
        state = session.execute(found).scalar() or "gone"
        raise ReindexConflict(
            f"the reindex of {reindex.collection!r} is {state}; this needs one that is "
            f"{' or '.join(state.value for state in states)}, with both generations",
            param="collection",
        )
    return _of(row)


def hidden_collection(session: ReadSession, reindex: Reindex) -> Collection:
    """The hidden generation, which does not answer searches. Raises CollectionNotFound."""
    return find_collection(session, _name(session, reindex.hidden_id))


def _name(session: ReadSession, collection_id: int | None) -> str:
    found = sa.select(schema.collection.c.name).where(schema.collection.c.id == collection_id)
    return session.execute(found).scalar() or ""


def _of(row: sa.Row[Any]) -> Reindex:
    names = Reindex.__dataclass_fields__
    return Reindex(**{name: getattr(row, name) for name in names if name != "state"}, state=ReindexState(row.state))
