"""Repair jobs: list unreadable waiting documents as errors of their job, and recount the job's figures."""

from __future__ import annotations

from typing import Any

from store import schema
from store.checksum import covered_columns, row_checksum
from store.jobs.notices import MAX_LISTED, NoticeKind
from store.jobs.payload import unpack
from store.repair.mending import Mending
from store.verify.jobs import check_jobs, is_dropped, is_right
from store.verify.reading import Reading

_CODE = "storage_corrupt"
_LOST = "was damaged on the disk before it was stored; send it again"
_UNREADABLE = "what this said was damaged on the disk"


def mend_jobs(mending: Mending) -> None:
    """Repair everything that check_jobs reports."""
    reading = Reading(directory=mending.directory, connection=mending.connection, current=True)
    if not any(check_jobs(reading)):
        return
    lost = _drop_batches(mending)
    _mend_notices(mending)
    for (job,) in mending.rows("SELECT id FROM job ORDER BY id"):
        _count(mending, job, lost=job in lost)


def _drop_batches(mending: Mending) -> set[int]:
    """Delete the batches that cannot be read; returns their jobs."""
    jobs = set()
    for id_, job, documents, payload, checksum in mending.rows(
        "SELECT id, job_id, documents, payload, checksum FROM job_batch ORDER BY id"
    ):
        if row_checksum(documents, payload) != checksum or len(unpack(payload)) != documents:
            mending.execute("DELETE FROM job_batch WHERE id = ?", id_)
            jobs.add(job)
    return jobs


def _mend_notices(mending: Mending) -> None:
    covered = covered_columns(schema.job_notice)
    statement = f"SELECT id, job_id, kind, checksum, {', '.join(covered)} FROM job_notice ORDER BY id"
    for id_, job, kind, checksum, *columns in mending.rows(statement):
        if row_checksum(*columns) == checksum:
            continue
        mending.execute("DELETE FROM job_notice WHERE id = ?", id_)
        if kind in tuple(NoticeKind):
            _insert(mending, job, kind, _UNREADABLE, id_)
        mending.done.append(f"notice {id_} of job {job}: what it said is lost")


def _count(mending: Mending, job: int, *, lost: bool) -> None:
    columns = ("total", "pending", "failed", "duplicates", "truncated")
    committed = "created + replaced + updated + unchanged"
    ((state, collection, stored, *found),) = mending.rows(
        f"SELECT state, collection_id, {committed}, {', '.join(columns)} FROM job WHERE id = ?", job
    )
    before = dict(zip(columns, found, strict=True))
    ((waiting,),) = mending.rows("SELECT COALESCE(SUM(documents), 0) FROM job_batch WHERE job_id = ?", job)
    if lost:
        missing = max(0, before["pending"] - waiting)
        for _ in range(missing):
            _insert(mending, job, NoticeKind.ERROR.value, _LOST)
        mending.done.append(f"job {job}: {missing} documents that waited cannot be read, and are listed as its errors")
    noted = dict(mending.rows("SELECT kind, COUNT(*) FROM job_notice WHERE job_id = ? GROUP BY kind", job))
    dropped = is_dropped(state, collection)
    after = {}
    for name, there, counted in (
        ("pending", waiting, before["pending"]),
        ("failed", noted.get(NoticeKind.ERROR, 0), before["failed"]),
        ("duplicates", noted.get(NoticeKind.DUPLICATE, 0), min(before["duplicates"], MAX_LISTED)),
        ("truncated", noted.get(NoticeKind.TRUNCATED, 0), min(before["truncated"], MAX_LISTED)),
    ):
        after[name] = before[name] if is_right(counted, there, dropped=dropped) else there
    counted = after["pending"] + after["failed"] + stored
    after["total"] = counted + min(max(0, before["total"] - counted), after["duplicates"])
    changed = {name: after[name] for name in columns if after[name] != before[name]}
    if changed:
        sets = ", ".join(f"{name} = ?" for name in changed)
        mending.execute(f"UPDATE job SET {sets} WHERE id = ?", *changed.values(), job)
        told = ", ".join(f"{name} {before[name]} to {value}" for name, value in changed.items())
        mending.done.append(f"job {job}: counted anew ({told})")


def _insert(mending: Mending, job: int, kind: str, reason: str, id_: int | None = None) -> None:
    row: dict[str, Any] = dict.fromkeys(covered_columns(schema.job_notice))
    row |= {"kind": kind, "reason": reason, "code": _CODE if kind == NoticeKind.ERROR else None}
    names = ", ".join(row)
    statement = f"INSERT INTO job_notice (id, job_id, {names}, checksum) VALUES (?, ?{', ?' * len(row)}, ?)"
    mending.execute(statement, id_, job, *row.values(), row_checksum(*row.values()))
