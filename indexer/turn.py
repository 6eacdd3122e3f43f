"""A worker's turn at a job, as a pipeline: while a batch is embedded, the next is prepared and the previous is stored.

Models use every core or wait for the network. The other steps use one core, and would keep the model waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from core.context import working_on
from core.records import Job
from indexer.embedding import Embedded
from indexer.ingest import Ingest, Ingested, Prepared
from indexer.pipeline import Pipeline
from indexer.prefetch import prefetched
from store.clock import Clock
from store.database import Database, WriteSession
from store.jobs import get_job
from store.jobs.lease import Lease
from store.jobs.work import BatchOutcome, JobBatch, complete, conclude, next_batch

JobProgress = Callable[[Job, int], None]  # the job at its last commit, and passages embedded since


@dataclass(kw_only=True, slots=True)
class _Step:
    """A batch in the pipeline."""

    batch: JobBatch
    ingest: Ingest
    prepared: Prepared
    embedded: Embedded = field(default_factory=Embedded)


class Turn:
    """One turn at the job of a lease. Call `run` once."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        lease: Lease,
        clock: Clock,
        *,
        goes_on: Callable[[], bool],
        on_progress: JobProgress | None,
    ) -> None:
        """`goes_on` tells whether to begin another batch; it is called before each but the first, from another thread.

        `on_progress` is called from two threads, never at the same time.
        """
        self._database = database
        self._pipeline = pipeline
        self._lease = lease
        self._clock = clock
        self._goes_on = goes_on
        self._on_progress = on_progress
        self._job: Job | None = None  # as of its last commit
        self._passages = 0  # embedded passages of batches that are not committed yet
        self._reporting = threading.Lock()  # guards these two
        self._all_embedded = False
        self._abandoned = threading.Event()

    def run(self) -> Job:
        """Work on the job and return it as it is then, ended or not. Raises what a step raises; stored batches stay."""
        with self._database.read() as session:
            job = get_job(session, self._lease.job_id)
        self._job = job
        began = time.monotonic()
        with ExitStack() as stack:
            prepared = stack.enter_context(prefetched(self._prepared(), "prepare"))
            embedded = stack.enter_context(prefetched(self._embedded(prepared), "embed"))
            stack.callback(self._abandoned.set)
            for step in embedded:
                job = self._store(step, began)
                began = time.monotonic()
        if self._all_embedded and not job.ended:
            with self._database.write() as session:
                job = conclude(session, self._lease, now=self._clock(session))
        return job

    def _prepared(self) -> Iterator[_Step]:
        """Yield batch after batch, prepared."""
        after = None
        while (step := self._next(after)) is not None:
            yield step
            if step.batch.crashes:  # it runs alone: another batch's crash would be blamed on it
                return
            after = step.batch.number

    def _next(self, after: int | None) -> _Step | None:
        """The batch after number `after`, prepared; None at the end."""
        with working_on(self._lease.job_id):  # context variables are not set in this thread
            with self._database.read() as session:
                batch = next_batch(session, self._lease, after=after)
            if batch is None:
                return None
            ingest = self._pipeline.ingest(self._lease.collection)
            outlines, refused = ingest.outlines(item.document for item in batch.documents)
            return _Step(batch=batch, ingest=ingest, prepared=ingest.prepare(outlines, refused))

    def _embedded(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        before: _Step | None = None
        for step in steps:
            if before is not None and not self._goes_on():
                return
            with working_on(self._lease.job_id):
                step.embedded = step.ingest.embed(step.prepared, self._progress)
            with self._reporting:
                self._passages += len(step.embedded.embeddings)
            yield step
            before = step
        self._all_embedded = before is None or not before.batch.crashes

    def _store(self, step: _Step, began: float) -> Job:
        """Store the batch and return the updated job. `began`: when the batch before it was stored."""
        stored: list[Job] = []

        def seal(session: WriteSession, ingested: Ingested) -> None:
            outcome = BatchOutcome(
                receipt=ingested.receipt,
                failures=[(failure.id, failure.code, failure.reason) for failure in ingested.failed],
                truncated=ingested.truncated,
                passages=ingested.passages,
                tokens=ingested.tokens,
                seconds=time.monotonic() - began,
            )
            stored.append(complete(session, self._lease, step.batch, outcome, now=self._clock(session)))

        step.ingest.store(step.prepared, step.embedded, seal)
        with self._reporting:
            self._job = stored[-1]
            self._passages -= len(step.embedded.embeddings)
            if self._on_progress is not None:
                self._on_progress(stored[-1], 0)
        return stored[-1]

    def _progress(self, passages: int, tokens: int) -> None:
        if self._abandoned.is_set():
            raise _Abandoned
        with self._reporting:
            if self._on_progress is not None and self._job is not None and self._passages + passages:
                self._on_progress(self._job, self._passages + passages)


class _Abandoned(Exception):
    """The turn is over, so the batch being embedded will not be stored."""
