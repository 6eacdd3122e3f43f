"""A job's messages about single documents: errors, duplicate ids, documents that the model truncated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from store import schema
from store.database import ReadSession, WriteSession
from store.jobs.payload import QueuedDocument, pack

MAX_LISTED = 1000  # duplicates, and truncated documents, listed per job; all are counted, and all errors are listed


class NoticeKind(StrEnum):
    ERROR = "error"
    DUPLICATE = "duplicate"
    TRUNCATED = "truncated"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobNotice:
    """A message about one document."""

    id: int = 0  # ascending within a job; 0 before it is stored
    kind: NoticeKind
    document_id: str | None = None
    path: str | None = None
    line: int | None = None
    code: str | None = None  # of an error: the stable code of core.errors
    reason: str | None = None
    document: QueuedDocument | None = None  # only when storing an error: the document, kept for another try


def add_notices(session: WriteSession, job_id: int, notices: Iterable[JobNotice], *, listed: dict[str, int]) -> None:
    """Store notices. `listed`: number of the job's notices so far, by kind; beyond MAX_LISTED only errors are kept."""
    rows: list[dict[str, Any]] = []
    for notice in notices:
        before = listed.get(notice.kind, 0)
        listed[notice.kind] = before + 1
        if notice.kind is NoticeKind.ERROR or before < MAX_LISTED:
            rows.append(_row(job_id, notice))
    if rows:
        session.execute(sa.insert(schema.job_notice), rows)


def job_notices(session: ReadSession, job_id: int, kind: NoticeKind, *, limit: int, after: int = 0) -> list[JobNotice]:
    """The first `limit` notices after the id `after`, in the order in which they were stored."""
    columns = schema.job_notice.c
    shown = [column for column in columns if column.name not in ("job_id", "payload")]
    found = (
        sa.select(*shown)
        .where(columns.job_id == job_id, columns.kind == kind.value, columns.id > after)
        .order_by(columns.id)
        .limit(limit)
    )
    return [
        JobNotice(
            id=row.id,
            kind=NoticeKind(row.kind),
            document_id=row.document_id,
            path=row.path,
            line=row.line,
            code=row.code,
            reason=row.reason,
        )
        for row in session.execute(found)
    ]


def newest_notice(session: ReadSession, job_id: int) -> int:
    """The id of the job's last notice; 0 where it has none."""
    notice = schema.job_notice.c
    return int(session.execute(sa.select(sa.func.max(notice.id)).where(notice.job_id == job_id)).scalar() or 0)


def errors_of(
    documents: Sequence[QueuedDocument], failures: Iterable[tuple[str | None, str, str]]
) -> Iterator[JobNotice]:
    """Errors for the failed ones among `documents` (dead letters); `failures` are document id, code, reason."""
    by_id = {item.document.id: item for item in documents}  # of two with the same id the last one was tried
    for id_, code, reason in failures:
        item = None if id_ is None else by_id.get(id_)
        yield JobNotice(
            kind=NoticeKind.ERROR,
            document_id=id_,
            path=None if item is None else item.path,
            line=None if item is None else item.line,
            code=code,
            reason=reason,
            document=item,
        )


def _row(job_id: int, notice: JobNotice) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "kind": notice.kind.value,
        "document_id": _storable(notice.document_id),
        "path": _storable(notice.path),
        "line": notice.line,
        "code": notice.code,
        "reason": _storable(notice.reason),
        "payload": None if notice.document is None else pack([notice.document]),
    }


def _storable(text: str | None) -> str | None:
    """Replace the lone surrogates that SQLite refuses: the id may be the very thing that is wrong."""
    return None if text is None else text.encode("utf-8", "replace").decode()
