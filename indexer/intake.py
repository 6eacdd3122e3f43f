"""Documents into a job: read once, in bounded memory, and in the queue only when all of them are there."""

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
FLUSHED_BYTES = 4 * 2**20  # that one transaction stores: other writers wait for it
FLUSHED_NOTICES = 5000

Located = tuple[Origin | None, Item]


def repeated(
    database: Database,
    collection: Collection,
    items: Iterable[Located],
    *,
    key: str,
    digest: Callable[[], bytes] | None,
) -> Job | None:
    """The job that an earlier request with this key made; None, and no item is used, where none has been made yet.

    `digest`: of what is sent again, once the items are used up. Raises JobConflict where the earlier content was
    another.
    """
    with database.read() as session:
        earlier = job_with_key(session, collection.id, key)
    if earlier is None or earlier[1] is None:
        return None
    for _ in items:
        pass
    if digest is None or earlier[1] != digest():
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
    """A job for all of `items`, queued; done already where nothing is to do.

    When `items` raise, nothing stays. `receiver` names this process. `digest` tells the hash of what was sent, once
    the items are used up; without it, it is that of the documents. With `resume`, a job of this digest that has stored
    nothing yet is answered, and one that has something left to do is cancelled.
    `on_notice` is called for each error, omission and duplicate as it is met.

    Raises StillReceived where another request with `key` came first, also where this one would find no room left;
    CollectionNotFound where the collection is deleted meanwhile; StorageError.
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
    """Raises QueueFull where `limit` documents wait already."""
    with database.read() as session:
        waiting = queued_documents(session)
    if waiting >= limit:
        raise QueueFull(f"{waiting} documents wait to be indexed, and {limit} are allowed; send these later")


class _Receiving:
    """One call of `receive`. What is small enough is stored in a single transaction, at the end."""

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
        self._stack = stack  # closes when all is over
        self._lease: Lease | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._intake = Intake()

    def packed(self, items: Iterable[Located]) -> Iterator[str]:
        """The documents among `items`; the rest, and ids met before, are noted."""
        for origin, document in documents_among(items, count=self._count, note=self._note):
            path, line = (None, None) if origin is None else (origin.path, origin.line)
            yield packed(QueuedDocument(document=document, path=path, line=line))

    def check_key(self) -> None:
        """Raises StillReceived where a job has the key."""
        if self._key is not None:
            with self._database.read() as session:
                check_key(session, self._collection.id, self._key)

    def keep(self, batch: Sequence[str]) -> None:
        payload = joined(batch)
        self._digest.update(payload)
        self._intake.batches.append((len(batch), payload))
        self._bytes += len(payload)
        if self._bytes >= FLUSHED_BYTES:
            self._flush()

    def finish(self, digest: Callable[[], bytes] | None, resume: bool) -> Job:
        """The job, in the queue."""
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
        """The earlier job of this content, if it goes on: one that has stored nothing yet.

        Any other is cancelled, as the new one has all of its documents: others may have written over what it stored,
        and what it has left would be written over what they wrote. What is stored still is not embedded again.
        """
        earlier = unfinished_job(session, self._collection.id, content)
        if earlier is None or earlier.seq == 0:
            return earlier
        cancel_job(session, earlier.id, now=self._clock(session))
        return None

    def drop(self) -> None:
        """Nothing of it stays."""
        self._stack.close()
        lease, self._lease = self._lease, None
        if lease is None:
            return
        with suppress(LeaseLost):  # it is whole already, or was taken for abandoned and swept away
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
        """Write what came in since the last time."""
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
