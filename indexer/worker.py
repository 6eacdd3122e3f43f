"""Process indexing jobs: one lease at a time, one transaction per batch, the jobs taking turns.

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
LATE_SWEEP_SECONDS = 60.0  # the longest that a sweep is postponed while a job runs that no other waits behind
LOOK_AGAIN_SECONDS = 60.0  # between checks for a model that was missing
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPolicy:
    """Timing and retries. Times in seconds."""

    lease_seconds: float = 30.0  # without a heartbeat, after which another worker takes over
    attempts: int = 5  # consecutive failures until a job is given up; temporary ones and missing models do not count
    backoff_seconds: float = 1.0  # upper limit of the first pause after a failure; doubled each time
    longest_pause_seconds: float = 60.0
    turn_seconds: float = 1.0  # after which other waiting jobs are served
    poll_seconds: float = 0.25  # between polls of an empty queue


class Worker:
    """Processes jobs of the queue. Thread-safe: `run` may run in one thread while others call `finish`."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        policy: JobPolicy | None = None,
        *,
        clock: Clock = database_now,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.problem: str | None = None  # why `run` cannot serve the queue at the moment
        self._database = database
        self._pipeline = pipeline
        self._policy = policy or JobPolicy()
        self._clock = clock
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._next_sweep = 0.0  # by time.monotonic
        self._missing: dict[str, float] = {}  # fingerprints of `wanted_models` missing here, and when last checked
        self._unwritten: deque[Callable[[WriteSession], None]] = (
            deque()
        )  # ends of turns that could not be written, as on a full disk

    def run(self) -> None:
        """Serve the queue until `stop`, which lets the current batch finish and releases the lease."""
        pauses = 0
        while not self._stopping.is_set():
            try:
                busy = self._step()
                pauses, self.problem = 0, None
            except Exception as error:  # noqa: BLE001 - not even the failure could be recorded; the queue remains
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
        with suppress(StorageError):  # otherwise the lease expires, as after a crash
            self._write_down()

    def drain(self) -> None:
        """Like `run`, until no job can be worked on now."""
        while not self._stopping.is_set() and self._step():
            pass

    def stop(self) -> None:
        """Ask `run` and `finish` to end after the current batch."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Make `run` look into the queue at once instead of at the next poll."""
        self._wake.set()

    def finish(self, job_id: int, *, on_progress: JobProgress | None = None, return_waiting: bool = False) -> Job:
        """Work on this job until it ends, or watch another worker do so; return the job as it is then.

        Returns earlier after `stop`; when nobody waits for the answer any more, which leaves the job to other workers;
        and, with `return_waiting`, when the job is waiting for a retry. Raises JobNotFound, StorageError.
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
        """Take the next job, or `job_id`, and work on it until it ends or other jobs wait; False if there was none.

        A failure is recorded with the job. Raises StorageError where it cannot be recorded; the next turn tries that
        first.
        """
        self._write_down()
        lease = self._claim(job_id)
        if lease is None:
            return False
        with working_on(lease.job_id):
            self._work(lease, alone=job_id is not None, on_progress=on_progress)
        return True

    def _step(self) -> bool:
        """Take a turn if there is a job, and sweep up some remains of jobs; whether there may be more of either."""
        worked = self.turn()
        return self._sweep() or worked

    def _work(self, lease: Lease, *, alone: bool, on_progress: JobProgress | None) -> None:
        """Work on the job until it ends or other jobs wait. `alone`: this worker serves no other job."""
        try:
            with Heartbeat(self._database, lease, seconds=self._policy.lease_seconds, clock=self._clock) as heartbeat:
                goes_on = self._goes_on(lease, heartbeat, alone)
                turn = Turn(
                    self._database, self._pipeline, lease, self._clock, goes_on=goes_on, on_progress=on_progress
                )
                job = turn.run()
        except LeaseLost as error:
            _log.info("job %s: %s", lease.job_id, error.message)
        except (ModelMismatch, ModelNotFound) as error:  # another worker may have the model
            self._failed(lease, error.message, counts=False)
        except ModelUnavailable as error:  # retried until somebody repairs its files
            _log.error("job %s: %s", lease.job_id, error.detail)
            self._failed(lease, error.message, counts=False)
        except SalienceError as error:
            passes = error.retryable or isinstance(error, RemoteError)  # the owner of a remote fixes what it refuses
            self._failed(lease, stored_reason(error), counts=not passes, retry_after=error.retry_after)
        except Exception as error:  # noqa: BLE001 - a bug of ours: logged in full, recorded and retried
            _log.exception("job %s: an unexpected failure", lease.job_id)
            self._failed(lease, f"an unexpected failure ({type(error).__name__}); see the log", counts=True)
        except BaseException:  # Ctrl-C: the next worker should not have to wait until the lease expires
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
            with self._database.read() as session:  # an idle worker never takes the write lock
                found = runnable(session, fingerprints=fingerprints, now=self._clock(session), job_id=job_id)
            if found is None:
                return None
            with self._database.write() as session:  # under which only this one job is looked at
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
        """A function that tells whether the turn goes on with another batch. `alone` as in `_work`."""
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
        """Whether this worker should stop its current work. `answer`: the request it works for, if any."""
        return self._stopping.is_set() or (answer is not None and answer.over)

    def _others_wait(self, lease: Lease) -> bool:
        fingerprints = self._served()
        if not fingerprints:
            return False
        with self._database.read() as session:
            now = self._clock(session)
            return runnable(session, fingerprints=fingerprints, now=now, but=lease.job_id) is not None

    def _served(self) -> set[str]:
        """The fingerprints of `wanted_models` whose models this process has. Loads them if necessary."""
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
        """Write how turns ended, first those that could not be written before. Raises StorageError.

        Dropping one would leave its job blocked until the lease expires, and count it as having crashed a worker.
        """
        self._unwritten.extend(ends)
        while self._unwritten:
            try:
                end = self._unwritten.popleft()
            except IndexError:  # another thread was faster
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
        """Sweep up some remains of jobs; whether there may be more."""
        if time.monotonic() < self._next_sweep:
            return False
        pause = SWEEP_SECONDS
        try:
            with self._database.read() as session:
                now = self._clock(session)
            if sweep(self._database, now=now):
                return True
        except SalienceError as error:  # jobs are processed nevertheless
            pause = LATE_SWEEP_SECONDS
            _log.error("what jobs left behind cannot be cleared away: %s", error.message)
        self._next_sweep = time.monotonic() + pause
        return False
