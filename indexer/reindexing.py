"""Makes collections anew beside themselves: one portion at a time, at a set share of the machine.

Any number of processes may run this over one data directory. A portion is brought over under the directory's lock,
which the kernel gives to the next one when its holder ends, however that ends. What is done stands in the database, in
the transaction that did it: a process that is killed costs the portion at hand.
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
    """Thread-safe: `run` may go on in one thread, while others ask for a switch."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        views: Views,
        judge: Judge | None = None,
        *,
        clock: Clock = database_now,
    ) -> None:
        """`judge`: compares two generations by judgements; None where nobody asks for that."""
        self._database = database
        self._views = views
        self._judge = judge
        self._clock = clock
        self._backfill = Backfill(database, pipeline, clock)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._elsewhere: dict[int, float] = {}  # those whose model is not here, and when that was seen

    def run(self) -> None:
        """Until `stop`, whatever goes wrong: then the portion at hand is finished."""
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
            except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits for the others is served on
                failures += 1
                pause = doubled(failures, longest=_LONGEST_PAUSE_SECONDS)
                _log.exception("reindexing: an unexpected failure; next look in %.0f s", pause)
                self._tell_all(_unexpected(error))
            if pause:
                self._wake.wait(pause)
                self._wake.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs in a thread while the block does, and is stopped and waited for at its end."""
        thread = threading.Thread(target=self.run, name="reindexing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def drain(self) -> None:
        """As `run`, until nothing is left that can be done here now: what waits for better times is left."""
        while not self._stopping.is_set() and self._busy():
            if not self.turn():
                self._wake.wait(0.02)

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """There is something to do: do not wait for the next look."""
        self._wake.set()

    def turn(self) -> bool:
        """Do the next thing that is due, for one collection; False where there is none, or another process is at it.

        What goes wrong with it is written down, and tried again later. Raises StorageError where that cannot be done.
        """
        with self._database.read() as session:  # nobody takes the lock where nothing is to do
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
        """Let the new generation answer. Raises Conflict, also where it lacks a document, and what its model raises."""
        return self._asked_to(reindex, ReindexState.READY, ReindexState.SWITCHED)

    def rollback(self, reindex: Reindex) -> Reindex:
        """Let the old generation, which is kept, answer again, now. Raises as `switch`."""
        return self._asked_to(reindex, ReindexState.SWITCHED, ReindexState.ROLLED_BACK)

    def end(self, reindex: Reindex, states: tuple[ReindexState, ...], into: ReindexState) -> Reindex:
        """End it at once in the state `into`, if it is in one of `states`; the hidden generation goes piece by piece.

        Raises ReindexConflict.
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
            for _ in range(3):  # a writer may be quicker than what brings its documents over
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
        """Whether something was done."""
        try:
            done = self._next(reindex)
            self._recover(reindex)
            return done
        except (ReindexConflict, CollectionNotFound, NotCaughtUp, Abandoned):  # somebody ended it, or wrote: look again
            return False
        except (StorageBusy, StorageFull, StorageReadOnly):  # nothing can be written down then
            raise
        except (ModelMismatch, ModelNotFound) as error:  # another process may have it
            self._elsewhere[reindex.id] = time.monotonic()
            self._postpone(reindex, error.message, 0.0)
            return False
        except DocumentsRefused as error:  # it says what they hold
            self._postpone(reindex, error.message, self._backoff(reindex), logged="its status says for which document")
        except ModelUnavailable as error:
            self._postpone(reindex, error.message, self._backoff(reindex), logged=error.detail)
        except SalienceError as error:
            self._postpone(reindex, stored_reason(error), max(self._backoff(reindex), error.retry_after or 0.0))
        except Exception as error:  # noqa: BLE001 - a fault of ours: logged in full, written down, and tried again
            _log.exception("reindex %s: an unexpected failure", reindex.id)
            self._postpone(reindex, _unexpected(error), self._backoff(reindex))
        return True

    def _next(self, reindex: Reindex) -> bool:
        with self._database.read() as session:
            now = self._clock(session)
        if reindex.state in ENDED:
            if reindex.state is ReindexState.FAILED and not _over(reindex.ended_at, reindex.grace_seconds, now):
                return False  # to be looked at
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
        """Read the hidden generation into memory, so that the first search after the switch need not."""
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
        seen = None if reindex.state in ENDED else self._elsewhere.get(reindex.id)  # no model is needed to remove it
        return _pauses(reindex, now) or (seen is not None and time.monotonic() < seen + _LONGEST_PAUSE_SECONDS)

    def _backoff(self, reindex: Reindex) -> float:
        return doubled(reindex.failures + 1, longest=_LONGEST_PAUSE_SECONDS)

    def _postpone(self, reindex: Reindex, reason: str, pause: float, *, logged: str | None = None) -> None:
        """`logged`: in place of the reason, where that is for no log."""
        _log.info("the reindex of %s waits %.0f s: %s", reindex.collection, pause, logged or reason)
        states = ENDED if reindex.state in ENDED else FOLLOWING  # what was ended meanwhile waits for nothing
        try:
            with self._database.write() as session:
                values: dict[str, object] = {"failures": reindex.failures + 1, "pause_seconds": pause}
                if reindex.state is not ReindexState.FAILED:  # what it was found wanting in is told on
                    values["reason"] = reason
                changed(session, reindex, states, **values, paused_at=self._clock(session))
        except ReindexConflict as error:
            _log.info("%s", error.message)

    def _recover(self, reindex: Reindex) -> None:
        """Its turn went well: a failure that was written down before is over."""
        if not _failed(reindex):
            return
        with self._database.write() as session:
            now = get(session, reindex.id)
            if _failed(now):
                reason = now.reason if now.state is ReindexState.FAILED else None
                changed(session, now, (now.state,), reason=reason, failures=0)

    def _tell_all(self, reason: str) -> None:
        """Write down why nothing goes on, with every reindex that says nothing of its own. None waits longer for it."""
        try:
            with self._database.write() as session:
                for reindex in unfinished(session):
                    if not reindex.failures and (reindex.reason is None or _is_unexpected(reindex.reason)):
                        changed(session, reindex, (reindex.state,), reason=reason)
        except Exception as error:  # noqa: BLE001 - what is wrong is in the log by now
            _log.warning("reindexing: it could not be written down either: %s", error)


def _unexpected(error: Exception) -> str:
    return f"{_UNEXPECTED} ({type(error).__name__}); see the log"


def _is_unexpected(reason: str | None) -> bool:
    return reason is not None and reason.startswith(_UNEXPECTED)


def _failed(reindex: Reindex) -> bool:
    """In its last turn, or with all others in one that never came to it."""
    return reindex.failures > 0 or _is_unexpected(reindex.reason)


def check_state(reindex: Reindex, wanted: ReindexState) -> None:
    """Raises ReindexConflict that says what is the matter."""
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
    """By the distance in either direction: after a clock has jumped, a pause is over early rather than never."""
    return reindex.paused_at is not None and not _over(reindex.paused_at, reindex.pause_seconds or 0.0, now)


def _over(since: float | None, seconds: float, now: float) -> bool:
    return since is None or abs(now - since) >= seconds
