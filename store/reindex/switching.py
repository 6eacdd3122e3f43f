"""The switch: one transaction that gives the collection's name to the hidden generation, and hides the other one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from core.naming import hidden_name
from core.reindexes import Reindex, ReindexState
from store import schema
from store.catalog import find_collection
from store.changes import current_seq
from store.database import WriteSession
from store.failpoints import reached
from store.reindex.pending import pending_count
from store.reindex.record import changed, hidden_collection
from store.settings import CHANGEABLE

# A generation with changes had a passage at some time, so the counter of passage ids exists.
_NOBODYS_PASSAGE = sa.text("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'passage' RETURNING seq")


class NotCaughtUp(Exception):
    """Documents written meanwhile have not been copied to the hidden generation yet."""


def switch(
    session: WriteSession, reindex: Reindex, *, states: Sequence[ReindexState], into: ReindexState, now: float
) -> Reindex:
    """Make the hidden generation answer from here on. `states`: in which that is allowed; `into`: the state after it.

    Changeable settings, jobs and aliases move with the name. Raises NotCaughtUp, and ReindexConflict where the reindex
    is in another state: let either end the transaction.
    """
    if pending_count(session, reindex):
        raise NotCaughtUp
    row = changed(session, reindex, states, state=into.value, reason=None, **schema.UNHINDERED)
    serving, hidden = find_collection(session, row.collection), hidden_collection(session, row)
    settings = replace(hidden.settings, **{name: getattr(serving.settings, name) for name in CHANGEABLE})
    aside = hidden_name(serving.name, row.id)
    table = schema.collection
    for id_, name in ((serving.id, f"{aside}!"), (hidden.id, serving.name), (serving.id, aside)):  # names are unique
        session.execute(sa.update(table).where(table.c.id == id_).values(name=name))
    session.execute(sa.update(table).where(table.c.id == hidden.id).values(settings=json.dumps(asdict(settings))))
    for follower in (schema.job, schema.alias):
        moved = sa.update(follower).where(follower.c.collection_id == serving.id)
        session.execute(moved.values(collection_id=hidden.id))
    go_beyond(session, hidden.active.id, current_seq(session, serving.active.id))
    ended = now if into is ReindexState.ROLLED_BACK else None
    switched = now if into is ReindexState.SWITCHED else row.switched_at
    both = {"serving_id": hidden.id, "hidden_id": serving.id, "switched_at": switched, "ended_at": ended}
    done = changed(session, row, [into], **both)
    reached("reindex.switch_written")
    return done


def go_beyond(session: WriteSession, generation_id: int, seq: int) -> None:
    """Raise the generation's newest change to at least `seq`.

    A client that was given `seq` under a name that moves to this generation may wait for it. A live passage is marked
    as touched. An empty generation logs the coming and going of a passage with an id that nothing else has.
    """
    if current_seq(session, generation_id) >= seq:
        return
    change, passage = schema.change, schema.passage.c
    live = (
        sa.select(change.c.passage_id)
        .join_from(change, schema.passage, passage.id == change.c.passage_id)
        .where(change.c.generation_id == generation_id, change.c.operation == "+")
        .order_by(change.c.seq.desc())
        .limit(1)
    )
    newest = session.execute(live).scalar()
    operations = "=" if newest is not None else "+-"
    if newest is None:
        newest = session.execute(_NOBODYS_PASSAGE).scalar_one()
    rows = [{"generation_id": generation_id, "operation": each, "passage_id": newest} for each in operations]
    session.execute(sa.insert(change), rows)
