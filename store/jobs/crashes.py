"""Handle batches over which workers crash: halve them until the document at fault stands alone, then give it up."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from store import schema
from store.database import WriteSession
from store.jobs.notices import add_notices, errors_of
from store.jobs.payload import pack, unpack

_WHOLE_CRASHES = 2  # after so many crashes a batch is cut in half
LAST_CRASHES = 5  # after so many crashes a single document is given up
WORKER_LOST = "worker_lost"  # error code of such a document


def count_crash(session: WriteSession, job_id: int) -> None:
    """Count a crash of the job's next batch, which its worker was busy with when it vanished.

    The process may have been killed for any reason, so a batch is suspected only from the second crash on.
    """
    columns = schema.job_batch.c
    first = session.execute(
        sa.select(schema.job_batch).where(columns.job_id == job_id).order_by(columns.number).limit(1)
    ).first()
    if first is None:
        return
    crashes = first.crashes + 1
    if crashes >= LAST_CRASHES and first.documents == 1:
        _give_up(session, first)
    elif crashes >= _WHOLE_CRASHES and first.documents > 1:
        _cut(session, first)
    else:
        session.execute(sa.update(schema.job_batch).where(columns.id == first.id).values(crashes=crashes))


def _cut(session: WriteSession, batch: sa.Row[Any]) -> None:
    """Cut the batch in half. Each half gets one more try before it is cut in turn."""
    items = unpack(batch.payload)
    middle = len(items) // 2
    session.execute(sa.delete(schema.job_batch).where(schema.job_batch.c.id == batch.id))
    rows = [
        {
            "job_id": batch.job_id,
            "number": batch.number + start,
            "documents": len(half),
            "crashes": _WHOLE_CRASHES - 1,
            "payload": pack(half),
        }
        for start, half in ((0, items[:middle]), (middle, items[middle:]))
    ]
    session.execute(sa.insert(schema.job_batch), rows)


def _give_up(session: WriteSession, batch: sa.Row[Any]) -> None:
    items = unpack(batch.payload)
    reason = f"{LAST_CRASHES} workers ended while they worked on it"
    add_notices(session, batch.job_id, errors_of(items, [(items[0].document.id, WORKER_LOST, reason)]), listed={})
    session.execute(sa.delete(schema.job_batch).where(schema.job_batch.c.id == batch.id))
    job = schema.job.c
    session.execute(
        sa.update(schema.job).where(job.id == batch.job_id).values(pending=job.pending - 1, failed=job.failed + 1)
    )
