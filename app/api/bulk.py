"""The bulk endpoint: reads documents as NDJSON of any size into a job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.access.allowances import PassageRoom, length_of
from app.access.caller import Caller
from app.access.limits import tokens_of
from app.api.dependencies import CollectionName, Known, Parts
from app.api.jobs import accepted
from app.api.links import JOB_MADE
from app.api.uploads import Upload
from app.schemas.documents import WriteReport
from app.schemas.jobs import JobBody, write_report
from app.wiring import Wiring
from core.context import check_awaited
from core.errors import InvalidInput, JobConflict, TooLarge, UnreadableFile
from core.records import Document, Job, JobState
from indexer.fields import FieldMapping, located_documents
from indexer.intake import Located, check_room, receive, repeated
from indexer.readers import Format, read_stream
from indexer.records import RecordError

router = APIRouter(prefix="/v1/collections/{collection}", tags=["documents"])

ROOM_FOR = 1000  # documents per check of the limit of passages, if the key has one
MAX_BROKEN_LINES = 100_000  # of one request: each is stored, with the reason
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": '{"id": "r1", "text": "A radio for the kitchen."}\n{"id": "r2", "text": "A record player."}\n',
        }
    },
}


@router.post(
    "/documents:bulk",
    status_code=202,
    responses={200: {"model": WriteReport, "description": "with wait: all is searchable"}, 202: JOB_MADE},
    operation_id="bulk_documents",
    summary="Add documents in bulk",
    openapi_extra={"requestBody": _BODY},
)
async def bulk(
    request: Request,
    response: Response,
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    wait: Annotated[
        bool, Query(description="answer when all is searchable, with a report in place of the job")
    ] = False,
    id_field: Annotated[str | None, Query(description="field that holds the id; else id or _id")] = None,
    text_field: Annotated[
        str | None, Query(description="field that holds the text; else text, body or content")
    ] = None,
    title_field: Annotated[str | None, Query(description="field that holds the title; else title or name")] = None,
    idempotency_key: Annotated[
        str | None, Header(description="a request that is repeated under its key makes no second job")
    ] = None,
) -> JobBody | WriteReport:
    """Add or replace documents from NDJSON of any size, one JSON object a line, optionally compressed with gzip.

    The answer is a job. It comes as soon as all lines are received; indexing starts then. Nothing is kept of a body
    that breaks off. A line that cannot be used is listed as an error of the job, and the others go on. With `wait`, a
    job that has to wait, for a remote model that is down for example, is answered as a job, too.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidInput("Idempotency-Key: must be 1 to 255 visible ASCII characters", param="Idempotency-Key")
    bulk_bytes, own = parts.settings.limits.bulk_bytes, caller.rights.limits.body_bytes
    limit = bulk_bytes if own is None else min(bulk_bytes, own)
    upload = Upload(request, limit=limit)
    mapping = FieldMapping(id=id_field, text=text_field, title=title_field)
    received = partial(_receive, parts, caller, collection, upload, limit, mapping, idempotency_key)
    job = await to_thread.run_sync(received, limiter=request.app.state.uploads)
    if wait:
        return await run_in_threadpool(_finished, parts, caller, job, response)
    return accepted(caller.shown_work(job), response)


def _receive(
    parts: Wiring, caller: Caller, name: str, upload: Upload, limit: int, mapping: FieldMapping, key: str | None
) -> Job:
    """Read the body into a new job, or return the job that an earlier request with the same idempotency key made.

    `limit`: bytes of the body, before and after unpacking, and characters of its documents.
    """
    limits, read = parts.settings.limits, _Read()
    collection = parts.pipeline.collection(name)
    records = read_stream(
        cast(BinaryIO, upload),
        format=Format.NDJSON,
        name="body",
        line_characters=limits.line_characters,
        watch=partial(_watched, limit),
    )
    items = _permitted(parts, caller, _whole(located_documents(records, mapping), limit, read))
    digest = partial(upload.digest, mapping.id, mapping.text, mapping.title)
    if key is not None and (earlier := repeated(parts.database, collection, items, key=key, digest=digest)) is not None:
        return earlier  # its room and tokens were counted by the earlier request
    check_room(parts.database, limits.queued_items)
    job = receive(
        parts.database,
        collection,
        _with_room(items, PassageRoom(parts, caller, name)),
        receiver=parts.worker.name,
        key=key,
        digest=digest,
    )
    parts.limiter.spend(caller, tokens_of(read.characters))
    parts.worker.wake()
    return job


def _permitted(parts: Wiring, caller: Caller, items: Iterable[Located]) -> Iterator[Located]:
    """Yield `items`, which may take hours to arrive. Raises Unauthorized at their end if the key is no longer valid."""
    yield from items
    parts.keyring.check_still(caller)


def _watched(limit: int, unpacked: int) -> None:
    """Raises TooLarge if a compressed body unpacks to more than `limit` bytes, Abandoned if nobody waits any more."""
    if unpacked > limit:
        raise TooLarge(f"the body has more than {limit} bytes once it is unpacked; send it in parts")
    check_awaited()


@dataclass(slots=True)
class _Read:
    """What has been read of the body so far."""

    broken: int = 0  # lines
    characters: int = 0


def _whole(items: Iterable[Located], limit: int, read: _Read) -> Iterator[Located]:
    """Yield `items`, counted in `read`. Raises UnreadableFile and TooLarge. `limit`: characters of all documents."""
    for origin, item in items:
        if isinstance(item, RecordError) and (origin is None or origin.line is None):  # of the body, not of a line
            kind = TooLarge if item.code == TooLarge.code else UnreadableFile
            raise kind(f"{item.reason}; nothing of the body was kept")
        if isinstance(item, RecordError):
            read.broken += 1
            if read.broken > MAX_BROKEN_LINES:
                raise UnreadableFile(
                    f"more than {MAX_BROKEN_LINES} lines are no documents; nothing of the body was kept"
                )
        if isinstance(item, Document):
            read.characters += length_of(item)
            if read.characters > limit:  # of a compressed body
                raise TooLarge(f"the documents have more than {limit} characters; send them in parts")
        yield origin, item


def _with_room(items: Iterable[Located], room: PassageRoom) -> Iterator[Located]:
    """Yield `items`. Raises LimitReached if there is no room for their passages under the key's limit."""
    lengths: dict[str, int] = {}  # characters by id, of documents that were not checked yet
    for origin, item in items:
        if isinstance(item, Document):
            lengths[item.id] = length_of(item)
            if len(lengths) == ROOM_FOR:
                room.take(lengths)
                lengths.clear()
        yield origin, item
    room.take(lengths)


def _finished(parts: Wiring, caller: Caller, job: Job, response: Response) -> JobBody | WriteReport:
    job = caller.shown_work(parts.worker.finish(job.id, return_waiting=True))
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        raise JobConflict(f"job {job.id} {job.state}" + (f": {job.reason}" if job.reason else ""))
    if job.state is not JobState.DONE:
        return accepted(job, response)
    response.status_code = 200
    with parts.database.read() as session:
        return write_report(session, job)
