"""Works on jobs: one lease at a time, one transaction a batch, turn and turn about.

Any number of workers, in any number of processes, may run over one database.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from core.backoff import doubled
from core.context import Awaited, current_answer, working_on
from core.errors import (
    CollectionNotFound,
    LeaseLost,
    ModelMismatch,
    ModelNotFound,
    ModelUnavailable,
    RemoteError,
    SalienceError,
    StorageError,
    StorageReadOnly,
)
from core.records import Job, JobState
from core.storedreason import stored_reason
from indexer.heartbeat import Heartbeat
from indexer.pipeline import Pipeline
from indexer.turn import JobProgress, Turn
from store.clock import Clock, database_now
from store.database import Database, WriteSession
from store.jobs import get_job
from store.jobs.lease import Lease, claim, failures, give_up, postpone, release, runnable, wanted_models
from store.jobs.sweep import sweep

SWEEP_SECONDS = 5.0
LATE_SWEEP_SECONDS = 60.0  # that it is put off at most for a job that nobody waits behind
LOOK_AGAIN_SECONDS = 60.0  # for a model that was not there
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPolicy:
    """How long and how often. Times in seconds."""

    lease_seconds: float = 30.0  # without a sign of life, after which another worker takes over
    attempts: int = 5  # failures in a row of a job, other than those that are nobody's fault
    backoff_seconds: float = 1.0  # the first pause after a failure, at most; doubled each time
    longest_pause_seconds: float = 60.0
    turn_seconds: float = 1.0  # after which other jobs that wait are served
    poll_seconds: float = 0.25  # between looks into an empty queue


class Worker:
    """Thread-safe: `run` may go on in one thread, while others call `finish`."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        policy: JobPolicy | None = None,
        *,
        clock: Clock = database_now,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.problem: str | None = None  # why `run` cannot serve the queue just now
        self._database = database
        self._pipeline = pipeline
        self._policy = policy or JobPolicy()
        self._clock = clock
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._next_sweep = 0.0  # by time.monotonic
        self._missing: dict[str, float] = {}  # of the `wanted_models` those that are not here: when that was seen
        self._unwritten: deque[Callable[[WriteSession], None]] = deque()  # how turns ended, on a full disk

    def run(self) -> None:
        """Serve the queue until `stop`: then the batch at hand is finished and the lease given back."""
        pauses = 0
        while not self._stopping.is_set():
            try:
                busy = self._step()
                pauses, self.problem = 0, None
            except Exception as error:  # noqa: BLE001 - not even the failure could be written down; the queue remains
                pauses += 1
                reason = error.message if isinstance(error, SalienceError) else type(error).__name__
                self.problem = f"the queue cannot be served: {reason}"
                _log.error("%s", self.problem, exc_info=not isinstance(error, StorageError))
                self._wake.wait(self._pause(pauses))
                self._wake.clear()
                continue
            if not busy:
                self._wake.wait(self._policy.poll_seconds)
                self._wake.clear()
        with suppress(StorageError):  # its lease runs out then, as after a crash
            self._write_down()

    def drain(self) -> None:
        """As `run`, until no job can be worked on now."""
        while not self._stopping.is_set() and self._step():
            pass

    def stop(self) -> None:
        """Ask `run` and `finish` to end after the batch at hand."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """There is something in the queue: do not wait for the next look."""
        self._wake.set()

    def finish(self, job_id: int, *, on_progress: JobProgress | None = None, return_waiting: bool = False) -> Job:
        """Work on this job until it ends, or watch the worker that does; the job as it is then.

        Returns before the end after `stop`, when nobody waits for the answer any more, which leaves the job to other
        workers, and with `return_waiting` when the job waits for better times.
        Raises JobNotFound, StorageError.
        """
        while True:
            with self._database.read() as session:
                job = get_job(session, job_id)
            if on_progress is not None:
                on_progress(job, 0)
            if job.ended or self._ends(current_answer()) or (return_waiting and job.state is JobState.WAITING):
                return job
            if not self.turn(job_id, on_progress=on_progress):
                time.sleep(min(0.05, self._policy.poll_seconds))

    def turn(self, job_id: int | None = None, *, on_progress: JobProgress | None = None) -> bool:
        """Take a job, or `job_id`, and work on it until others wait, or to its end; whether there was one to be had.

        What goes wrong is written down with the job. Raises StorageError where that cannot be done either; the next
        turn begins with it.
        """
        self._write_down()
        lease = self._claim(job_id)
        if lease is None:
            return False
        with working_on(lease.job_id):
            self._work(lease, alone=job_id is not None, on_progress=on_progress)
        return True

    def _step(self) -> bool:
        """A turn, if there is a job, and some of what jobs left behind; whether there may be more of either."""
        worked = self.turn()
        return self._sweep() or worked

    def _work(self, lease: Lease, *, alone: bool, on_progress: JobProgress | None) -> None:
        """Until others wait, or to its end. `alone`: this worker serves no other job."""
        try:
            with Heartbeat(self._database, lease, seconds=self._policy.lease_seconds, clock=self._clock) as heartbeat:
                goes_on = self._goes_on(lease, heartbeat, alone)
                turn = Turn(
                    self._database, self._pipeline, lease, self._clock, goes_on=goes_on, on_progress=on_progress
                )
                job = turn.run()
        except LeaseLost as error:
            _log.info("job %s: %s", lease.job_id, error.message)
        except (ModelMismatch, ModelNotFound) as error:  # another worker may have it
            self._failed(lease, error.message, counts=False)
        except ModelUnavailable as error:  # until somebody puts its files right
            _log.error("job %s: %s", lease.job_id, error.detail)
            self._failed(lease, error.message, counts=False)
        except SalienceError as error:
            passes = error.retryable or isinstance(error, RemoteError)  # what a remote refuses, its owner puts right
            self._failed(lease, stored_reason(error), counts=not passes, retry_after=error.retry_after)
        except Exception as error:  # noqa: BLE001 - a fault of ours: logged in full, written down, and tried again
            _log.exception("job %s: an unexpected failure", lease.job_id)
            self._failed(lease, f"an unexpected failure ({type(error).__name__}); see the log", counts=True)
        except BaseException:  # Ctrl-C: the next worker need not wait for the lease to run out
            self._release(lease, idle=True)
            raise
        else:
            if job.ended:
                _log.info("job %s: done, %s documents failed", job.id, job.failed)
            else:
                self._release(lease, idle=self._ends(current_answer()))

    def _claim(self, job_id: int | None) -> Lease | None:
        fingerprints = self._served()
        if not fingerprints:
            return None
        while True:
            with self._database.read() as session:  # an idle worker never asks for the write lock
                found = runnable(session, fingerprints=fingerprints, now=self._clock(session), job_id=job_id)
            if found is None:
                return None
            with self._database.write() as session:  # and of many jobs only one is looked at under it
                lease = claim(
                    session,
                    self.name,
                    seconds=self._policy.lease_seconds,
                    fingerprints=fingerprints,
                    now=self._clock(session),
                    job_id=found,
                )
            if lease is not None:
                return lease

    def _goes_on(self, lease: Lease, heartbeat: Heartbeat, alone: bool) -> Callable[[], bool]:
        """Tells whether the turn goes on with another batch. `alone`: this worker serves no other job."""
        over = time.monotonic() + self._policy.turn_seconds
        answer = current_answer()

        def goes_on() -> bool:
            nonlocal over
            if self._ends(answer) or heartbeat.lost:
                return False
            if alone or time.monotonic() < over:
                return True
            over = time.monotonic() + self._policy.turn_seconds
            return over < self._next_sweep + LATE_SWEEP_SECONDS and not self._others_wait(lease)

        return goes_on

    def _ends(self, answer: Awaited | None) -> bool:
        """Whether this worker leaves what it is at. `answer`: what it works for; None: the job alone."""
        return self._stopping.is_set() or (answer is not None and answer.over)

    def _others_wait(self, lease: Lease) -> bool:
        fingerprints = self._served()
        if not fingerprints:
            return False
        with self._database.read() as session:
            now = self._clock(session)
            return runnable(session, fingerprints=fingerprints, now=now, but=lease.job_id) is not None

    def _served(self) -> set[str]:
        """Of the `wanted_models` those that are here. Loads what is not loaded yet."""
        with self._database.read() as session:
            wanted = wanted_models(session)
        return {fingerprint for fingerprint, collection in wanted.items() if self._serves(fingerprint, collection)}

    def _serves(self, fingerprint: str, collection: str) -> bool:
        looked = self._missing.get(fingerprint)
        if looked is not None and time.monotonic() < looked + LOOK_AGAIN_SECONDS:
            return False
        try:
            problem = self._pipeline.why_not(collection)
        except CollectionNotFound:
            return False
        if problem is None:
            self._missing.pop(fingerprint, None)
            return True
        if looked is None:
            _log.warning("jobs of the collection %s wait for another worker: %s", collection, problem)
        self._missing[fingerprint] = time.monotonic()
        return False

    def _failed(self, lease: Lease, reason: str, *, counts: bool, retry_after: float | None = None) -> None:
        def failed(session: WriteSession) -> None:
            before, now = failures(session, lease), self._clock(session)
            if counts and before.attempts + 1 >= self._policy.attempts:
                give_up(session, lease, reason=reason, now=now)
                _log.error("job %s: failed: %s", lease.job_id, reason)
                return
            pause = max(self._pause(before.pauses + 1), retry_after or 0.0)
            postpone(session, lease, reason=reason, pause_seconds=pause, counts=counts, now=now)
            _log.info("job %s: waits %.1f s: %s", lease.job_id, pause, reason)

        self._write_down(failed)

    def _write_down(self, *ends: Callable[[WriteSession], None]) -> None:
        """How turns ended, and first what could not be written then. Raises StorageError.

        If it were given up, the job would stand until its lease is over, and be counted as one that a worker died of.
        """
        self._unwritten.extend(ends)
        while self._unwritten:
            try:
                end = self._unwritten.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                with self._database.write() as session:
                    end(session)
            except LeaseLost as error:
                _log.info("%s", error.message)
            except StorageError as error:
                if error.retryable or isinstance(error, StorageReadOnly):
                    self._unwritten.appendleft(end)
                raise

    def _pause(self, failure: int) -> float:
        """Seconds after the nth failure in a row: exponential backoff with full jitter.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        policy = self._policy
        return random.uniform(0.0, doubled(failure, first=policy.backoff_seconds, longest=policy.longest_pause_seconds))

    def _release(self, lease: Lease, *, idle: bool) -> None:
        self._write_down(partial(release, lease=lease, idle=idle))

    def _sweep(self) -> bool:
        """Some of what jobs left behind; whether there is more."""
        if time.monotonic() < self._next_sweep:
            return False
        pause = SWEEP_SECONDS
        try:
            with self._database.read() as session:
                now = self._clock(session)
            if sweep(self._database, now=now):
                return True
        except SalienceError as error:  # jobs are worked on all the same
            pause = LATE_SWEEP_SECONDS
            _log.error("what jobs left behind cannot be cleared away: %s", error.message)
        self._next_sweep = time.monotonic() + pause
        return False
