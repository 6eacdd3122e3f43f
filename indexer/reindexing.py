"""Rebuild collections in the background: one portion at a time, at a configured share of the machine.

Each reindex builds a hidden generation while the old one goes on serving. Any number of processes may run this over one
data directory. A portion is copied under the directory's lock, which the kernel passes on when its holder ends, in
whatever way. Progress is recorded in the transaction that made it, so a killed process loses only its current portion.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.backoff import doubled
from core.context import awaited
from core.errors import (
    Abandoned,
    CollectionNotFound,
    DocumentsRefused,
    LockHeld,
    ModelMismatch,
    ModelNotFound,
    ModelUnavailable,
    ReindexConflict,
    SalienceError,
    StorageBusy,
    StorageError,
    StorageFull,
    StorageReadOnly,
)
from core.protocols import Priority
from core.reindexes import Reindex, ReindexState
from core.storedreason import stored_reason
from indexer.backfill import Backfill
from indexer.pipeline import Pipeline
from indexer.preemption import preemptible, preempting
from indexer.validation import Judge, validate
from store import schema
from store.clock import Clock, database_now
from store.database import Database
from store.failpoints import reached
from store.reindex.dropping import drop_piece
from store.reindex.record import ENDED, FILLING, FOLLOWING, changed, get, hidden_collection, unfinished
from store.reindex.switching import NotCaughtUp
from store.views import Views

POLL_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 60.0  # after failures in a row
_UNEXPECTED = "an unexpected failure"
_log = logging.getLogger(__name__)


class Reindexing:
    """Runs the reindexes of a data directory. Thread-safe: `run` may run in one thread while others call `switch`."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        views: Views,
        judge: Judge | None = None,
        *,
        clock: Clock = database_now,
    ) -> None:
        """`judge` compares two generations by relevance judgements; None if no reindex uses them."""
        self._database = database
        self._views = views
        self._judge = judge
        self._clock = clock
        self._backfill = Backfill(database, pipeline, clock)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._elsewhere: dict[int, float] = {}  # reindex ids whose model this process lacks, and when it noticed

    def run(self) -> None:
        """Process reindexes until `stop`, which lets the current portion finish. Failures are logged and retried."""
        failures = 0
        while not self._stopping.is_set():
            pause = POLL_SECONDS
            try:
                if self.turn():
                    pause = 0.0
                failures = 0
            except StorageError as error:
                failures += 1
                pause = doubled(failures, longest=_LONGEST_PAUSE_SECONDS)
                _log.warning("reindexing: next look in %.0f s: %s", pause, error.message)
            except Exception as error:  # noqa: BLE001 - a bug of ours: the other reindexes must go on
                failures += 1
                pause = doubled(failures, longest=_LONGEST_PAUSE_SECONDS)
                _log.exception("reindexing: an unexpected failure; next look in %.0f s", pause)
                self._tell_all(_unexpected(error))
            if pause:
                self._wake.wait(pause)
                self._wake.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Call `run` in a thread during the block; at its end, stop the thread and wait for it."""
        thread = threading.Thread(target=self.run, name="reindexing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def drain(self) -> None:
        """Like `run`, until nothing is left that this process can do now. Reindexes that wait for a retry are left."""
        while not self._stopping.is_set() and self._busy():
            if not self.turn():
                self._wake.wait(0.02)

    def stop(self) -> None:
        """Ask `run` and `drain` to end after the current portion."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Make `run` look for work at once instead of at the next poll."""
        self._wake.set()

    def turn(self) -> bool:
        """Take the next due step, for one collection; False where there is none, or another process is working.

        A failure is recorded with the reindex and retried later. Raises StorageError where it cannot be recorded.
        """
        with self._database.read() as session:  # do not take the lock if there is nothing to do
            if not unfinished(session):
                return False
        try:
            with preemptible(self._database.directory) as turn, awaited(turn):
                with self._database.read() as session:
                    waiting, now = unfinished(session), self._clock(session)
                due = (reindex for reindex in waiting if not self._rests(reindex, now))
                return any(not turn.over and self._step(reindex) for reindex in due)
        except LockHeld:
            return False

    def switch(self, reindex: Reindex) -> Reindex:
        """Make the new generation serve. Raises Conflict, also where it lacks a document, and what its model raises."""
        return self._asked_to(reindex, ReindexState.READY, ReindexState.SWITCHED)

    def rollback(self, reindex: Reindex) -> Reindex:
        """Make the old generation, which is kept, serve again at once. Raises what `switch` raises."""
        return self._asked_to(reindex, ReindexState.SWITCHED, ReindexState.ROLLED_BACK)

    def end(self, reindex: Reindex, states: tuple[ReindexState, ...], into: ReindexState) -> Reindex:
        """End the reindex at once in the state `into`. Its hidden generation is then deleted piece by piece.

        Raises ReindexConflict if it is in none of `states`.
        """
        values = {"state": into.value, "reason": None, **schema.UNHINDERED}
        with self._database.write() as session:
            ended = changed(session, reindex, states, **values, ended_at=self._clock(session))
        reached("reindex.ended")
        self.wake()
        return ended

    def _asked_to(self, reindex: Reindex, state: ReindexState, into: ReindexState) -> Reindex:
        with self._database.read() as session:
            check_state(get(session, reindex.id), state)
        with preempting(self._database.directory):
            for _ in range(3):  # writers may be faster than the copying of their documents
                try:
                    return self._switched(reindex, state, into, Priority.INTERACTIVE)
                except NotCaughtUp:
                    continue
        raise ReindexConflict(
            f"the collection {reindex.collection!r} is written to faster than its other generation follows; "
            "nothing was switched. Try again when there are fewer writes",
            param="collection",
        )

    def _switched(self, reindex: Reindex, state: ReindexState, into: ReindexState, priority: Priority) -> Reindex:
        with self._database.read() as session:
            reindex = get(session, reindex.id)
        check_state(reindex, state)
        self._backfill.catch_up(reindex, priority)
        self._warm(reindex)
        done = self._backfill.switch(reindex, (state,), into)
        _log.info("the collection %s: %s", done.collection, done.state.value)
        return done

    def _step(self, reindex: Reindex) -> bool:
        """Take the reindex's next step; whether something was done."""
        try:
            done = self._next(reindex)
            self._recover(reindex)
            return done
        except (ReindexConflict, CollectionNotFound, NotCaughtUp, Abandoned):  # it was ended, or written to: look again
            return False
        except (StorageBusy, StorageFull, StorageReadOnly):  # nothing can be recorded then
            raise
        except (ModelMismatch, ModelNotFound) as error:  # another process may have the model
            self._elsewhere[reindex.id] = time.monotonic()
            self._postpone(reindex, error.message, 0.0)
            return False
        except DocumentsRefused as error:  # it says what they hold
            self._postpone(reindex, error.message, self._backoff(reindex), logged="its status says for which document")
        except ModelUnavailable as error:
            self._postpone(reindex, error.message, self._backoff(reindex), logged=error.detail)
        except SalienceError as error:
            self._postpone(reindex, stored_reason(error), max(self._backoff(reindex), error.retry_after or 0.0))
        except Exception as error:  # noqa: BLE001 - a bug of ours: logged in full, recorded and retried
            _log.exception("reindex %s: an unexpected failure", reindex.id)
            self._postpone(reindex, _unexpected(error), self._backoff(reindex))
        return True

    def _next(self, reindex: Reindex) -> bool:
        with self._database.read() as session:
            now = self._clock(session)
        if reindex.state in ENDED:
            if reindex.state is ReindexState.FAILED and not _over(reindex.ended_at, reindex.grace_seconds, now):
                return False  # kept for inspection during the grace period
            drop_piece(self._database, reindex)
            return True
        if reindex.state is ReindexState.SWITCHED and _over(reindex.switched_at, reindex.grace_seconds, now):
            self.end(reindex, (ReindexState.SWITCHED,), ReindexState.DONE)
            return True
        if reindex.state in FILLING and reindex.scanned and self._backfill.follows(reindex):
            validate(self._database, self._views, reindex, self._judge, clock=self._clock)
            return True
        if reindex.state is ReindexState.READY and reindex.auto_switch:
            self._switched(reindex, ReindexState.READY, ReindexState.SWITCHED, Priority.BULK)
            return True
        return self._backfill.portion(reindex)

    def _warm(self, reindex: Reindex) -> None:
        """Load the hidden generation into memory, so that the first search after the switch need not wait for it."""
        with self._database.read() as session:
            name = hidden_collection(session, reindex).name
        with self._views.open(name):
            pass

    def _busy(self) -> bool:
        with self._database.read() as session:
            waiting, now = unfinished(session), self._clock(session)
        return any(
            not reindex.failures
            and (reindex.state in ENDED or reindex.id not in self._elsewhere)
            and (
                reindex.state in FILLING
                or (reindex.state is ReindexState.READY and reindex.auto_switch)
                or (reindex.state in ENDED and reindex.state is not ReindexState.FAILED)
                or (reindex.state is ReindexState.SWITCHED and _over(reindex.switched_at, reindex.grace_seconds, now))
            )
            for reindex in waiting
        )

    def _rests(self, reindex: Reindex, now: float) -> bool:
        seen = None if reindex.state in ENDED else self._elsewhere.get(reindex.id)  # removing it needs no model
        return _pauses(reindex, now) or (seen is not None and time.monotonic() < seen + _LONGEST_PAUSE_SECONDS)

    def _backoff(self, reindex: Reindex) -> float:
        return doubled(reindex.failures + 1, longest=_LONGEST_PAUSE_SECONDS)

    def _postpone(self, reindex: Reindex, reason: str, pause: float, *, logged: str | None = None) -> None:
        """Record a failure and pause the reindex. `logged` is logged in place of a reason that must not be in a log."""
        _log.info("the reindex of %s waits %.0f s: %s", reindex.collection, pause, logged or reason)
        states = ENDED if reindex.state in ENDED else FOLLOWING  # one that was ended meanwhile is not paused
        try:
            with self._database.write() as session:
                values: dict[str, object] = {"failures": reindex.failures + 1, "pause_seconds": pause}
                if reindex.state is not ReindexState.FAILED:  # a failed one keeps its reason
                    values["reason"] = reason
                changed(session, reindex, states, **values, paused_at=self._clock(session))
        except ReindexConflict as error:
            _log.info("%s", error.message)

    def _recover(self, reindex: Reindex) -> None:
        """After a successful step, clear the failure that was recorded before."""
        if not _failed(reindex):
            return
        with self._database.write() as session:
            now = get(session, reindex.id)
            if _failed(now):
                reason = now.reason if now.state is ReindexState.FAILED else None
                changed(session, now, (now.state,), reason=reason, failures=0)

    def _tell_all(self, reason: str) -> None:
        """Record why nothing goes on with every reindex that has no reason of its own. Pauses stay as they are."""
        try:
            with self._database.write() as session:
                for reindex in unfinished(session):
                    if not reindex.failures and (reindex.reason is None or _is_unexpected(reindex.reason)):
                        changed(session, reindex, (reindex.state,), reason=reason)
        except Exception as error:  # noqa: BLE001 - the original failure is in the log already
            _log.warning("reindexing: it could not be written down either: %s", error)


def _unexpected(error: Exception) -> str:
    return f"{_UNEXPECTED} ({type(error).__name__}); see the log"


def _is_unexpected(reason: str | None) -> bool:
    return reason is not None and reason.startswith(_UNEXPECTED)


def _failed(reindex: Reindex) -> bool:
    """Whether its last step failed, or the last turn of all reindexes did before reaching it."""
    return reindex.failures > 0 or _is_unexpected(reindex.reason)


def check_state(reindex: Reindex, wanted: ReindexState) -> None:
    """Raises ReindexConflict, which gives the reason, unless the reindex is in the state `wanted`."""
    if reindex.state is wanted and reindex.hidden_id is not None:
        return
    reasons = {
        ReindexState.BUILDING: "the new generation is not whole yet",
        ReindexState.VALIDATING: "the new generation is being compared with the old one",
        ReindexState.READY: "nothing was switched yet",
        ReindexState.SWITCHED: "the new generation answers already",
        ReindexState.DONE: "the old generation was removed",
    }
    why = reasons.get(reindex.state, f"it is {reindex.state.value}")
    raise ReindexConflict(f"the reindex of {reindex.collection!r} cannot do this: {why}", param="collection")


def _pauses(reindex: Reindex, now: float) -> bool:
    """Whether the reindex is paused. By absolute time difference: after a clock jump a pause ends early, not never."""
    return reindex.paused_at is not None and not _over(reindex.paused_at, reindex.pause_seconds or 0.0, now)


def _over(since: float | None, seconds: float, now: float) -> bool:
    return since is None or abs(now - since) >= seconds
