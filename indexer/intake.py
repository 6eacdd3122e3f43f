"""Receive documents into an indexing job: read once, in bounded memory, and queued only when all of them are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress

from core.errors import JobConflict, LeaseLost, LimitReached, QueueFull
from core.records import Collection, Job
from indexer.batches import batches
from indexer.heartbeat import Heartbeat
from indexer.items import Item, Notice, documents_among
from indexer.records import Duplicate, Origin, RecordError
from store.clock import Clock, database_now
from store.database import Database, WriteSession
from store.jobs import cancel_job, queued_documents
from store.jobs.intake import Intake, append, begin, check_key, drop, finish, job_with_key, unfinished_job
from store.jobs.lease import Lease
from store.jobs.notices import JobNotice, NoticeKind
from store.jobs.payload import QueuedDocument, joined, packed

LEASE_SECONDS = 30.0
FLUSHED_BYTES = 4 * 2**20  # written per transaction, for which other writers wait
FLUSHED_NOTICES = 5000

Located = tuple[Origin | None, Item]


def repeated(
    database: Database,
    collection: Collection,
    items: Iterable[Located],
    *,
    key: str,
    digest: Callable[[], bytes],
) -> Job | None:
    """The job that an earlier request with this idempotency key created.

    None, with no item consumed, if there is no such job or it is still being received. `digest` returns the hash of
    the repeated content; it is called after the items are consumed. Raises JobConflict if the content is different.
    """
    with database.read() as session:
        earlier = job_with_key(session, collection.id, key)
    if earlier is None or earlier[1] is None:
        return None
    for _ in items:
        pass
    if earlier[1] != digest():
        raise JobConflict(
            f"the idempotency key {key!r} belongs to job {earlier[0].id}, whose content is another; "
            "use a new key for new content",
            param="Idempotency-Key",
        )
    return earlier[0]


def receive(
    database: Database,
    collection: Collection,
    items: Iterable[Located],
    *,
    receiver: str,
    key: str | None = None,
    digest: Callable[[], bytes] | None = None,
    resume: bool = False,
    on_notice: Callable[[Notice], None] | None = None,
    clock: Clock = database_now,
) -> Job:
    """Queue a job for all of `items` and return it. It is done at once if there is nothing to do.

    With an idempotency `key`, call `repeated` first. If `items` raises, nothing is kept. `receiver` names this process.
    `digest` returns the hash of the content, and is called once the items are consumed; without it, the documents
    themselves are hashed. With `resume`, an unfinished job of the same digest is returned if it has stored nothing yet,
    and cancelled otherwise. `on_notice` is called for each error, omission and duplicate as it is met.

    Raises StillReceived if another request with `key` came first, even if this one hits a limit because of it;
    LimitReached; CollectionNotFound if the collection is deleted meanwhile; StorageError.
    """
    with ExitStack() as stack:
        receiving = _Receiving(database, collection, receiver, key, on_notice, clock, stack)
        try:
            for batch in batches(receiving.packed(items), len):
                receiving.keep(batch)
            return receiving.finish(digest, resume)
        except LimitReached:  # perhaps by the documents of the request that came first
            receiving.drop()
            receiving.check_key()
            raise
        except BaseException:
            receiving.drop()
            raise


def check_room(database: Database, limit: int) -> None:
    """Raises QueueFull if `limit` or more documents are queued already."""
    with database.read() as session:
        waiting = queued_documents(session)
    if waiting >= limit:
        raise QueueFull(f"{waiting} documents wait to be indexed, and {limit} are allowed; send these later")


class _Receiving:
    """One call of `receive`. Content under FLUSHED_BYTES is stored in a single transaction, at the end."""

    def __init__(
        self,
        database: Database,
        collection: Collection,
        receiver: str,
        key: str | None,
        on_notice: Callable[[Notice], None] | None,
        clock: Clock,
        stack: ExitStack,
    ) -> None:
        self._database = database
        self._collection = collection
        self._receiver = receiver
        self._key = key
        self._on_notice = on_notice
        self._clock = clock
        self._stack = stack  # closed when the call ends
        self._lease: Lease | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._intake = Intake()

    def packed(self, items: Iterable[Located]) -> Iterator[str]:
        """Yield the documents among `items`, serialized; everything else, and each repeated id, is noted."""
        for origin, document in documents_among(items, count=self._count, note=self._note):
            path, line = (None, None) if origin is None else (origin.path, origin.line)
            yield packed(QueuedDocument(document=document, path=path, line=line))

    def check_key(self) -> None:
        """Raises StillReceived if a job has the key."""
        if self._key is not None:
            with self._database.read() as session:
                check_key(session, self._collection.id, self._key)

    def keep(self, batch: Sequence[str]) -> None:
        """Add a batch of serialized documents, and write to the database once FLUSHED_BYTES have gathered."""
        payload = joined(batch)
        self._digest.update(payload)
        self._intake.batches.append((len(batch), payload))
        self._bytes += len(payload)
        if self._bytes >= FLUSHED_BYTES:
            self._flush()

    def finish(self, digest: Callable[[], bytes] | None, resume: bool) -> Job:
        """Store the rest and queue the job. With `resume`, an earlier job may be returned in its place."""
        content = self._digest.digest() if digest is None else digest()
        earlier = None
        with self._database.write() as session:
            if resume:
                earlier = self._resumed(session, content)
            if earlier is None:
                lease = self._stored(session)
                return finish(session, lease, digest=content, now=self._clock(session))
        self.drop()
        return earlier

    def _resumed(self, session: WriteSession, content: bytes) -> Job | None:
        """The earlier unfinished job of this content, if it has stored nothing yet; it then replaces this one.

        If it has stored something, it is cancelled, as the new job has all of its documents. Other writers may have
        overwritten what it stored, and its remaining documents would overwrite theirs. Content that is still stored is
        not embedded again.
        """
        earlier = unfinished_job(session, self._collection.id, content)
        if earlier is None or earlier.seq == 0:
            return earlier
        cancel_job(session, earlier.id, now=self._clock(session))
        return None

    def drop(self) -> None:
        """Delete everything received so far."""
        self._stack.close()
        lease, self._lease = self._lease, None
        if lease is None:
            return
        with suppress(LeaseLost):  # the job is queued already, or was swept away as abandoned
            more = True
            while more:
                with self._database.write() as session:
                    more = drop(session, lease)

    def _flush(self) -> None:
        begun = self._lease is not None
        with self._database.write() as session:
            lease = self._stored(session)
        self._lease = lease
        if not begun:
            self._stack.enter_context(Heartbeat(self._database, lease, seconds=LEASE_SECONDS, clock=self._clock))

    def _stored(self, session: WriteSession) -> Lease:
        """Write what was received since the last call."""
        now = self._clock(session)
        lease = self._lease or begin(
            session, self._collection, self._receiver, seconds=LEASE_SECONDS, key=self._key, now=now
        )
        append(session, lease, self._intake, now=now)
        self._intake, self._bytes = Intake(), 0
        return lease

    def _count(self) -> None:
        self._intake.read += 1

    def _note(self, notice: Notice, origin: Origin | None) -> None:
        path, line = (None, None) if origin is None else (origin.path, origin.line)
        match notice:
            case RecordError():
                self._intake.notices.append(
                    JobNotice(
                        kind=NoticeKind.ERROR,
                        document_id=notice.id,
                        path=path,
                        line=line,
                        code=notice.code,
                        reason=notice.reason,
                    )
                )
            case Duplicate():
                self._intake.notices.append(
                    JobNotice(kind=NoticeKind.DUPLICATE, document_id=notice.id, path=path, line=line)
                )
        if self._on_notice is not None:
            self._on_notice(notice)
        if len(self._intake.notices) >= FLUSHED_NOTICES:
            self._flush()
