"""The backfill of a reindex: documents into its hidden generation, portion by portion, and then the switch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass

from core.errors import DocumentsRefused
from core.protocols import Priority
from core.reindexes import Reindex, ReindexState
from indexer.batches import BATCH_DOCUMENTS
from indexer.embedding import Embedded
from indexer.ingest import Ingest, Ingested, Prepared
from indexer.pipeline import Pipeline
from indexer.records import RecordError
from store.clock import Clock
from store.database import Database, WriteSession
from store.failpoints import reached
from store.reindex.pending import Portion, next_portion, pending_count, strike_out, written_portion
from store.reindex.record import changed, hidden_collection
from store.reindex.switching import NotCaughtUp, switch

_CHARACTERS = 50_000  # of a portion, which is lost when the process is killed, and has waited for every query
_LAST_DOCUMENTS = 32  # that the switch may bring over while it holds the writers back
_HELD_SECONDS = 5.0  # for which it may
_ROUNDS = 50  # of catching up, after which writers are quicker
_PAUSE_FOR_FAILURES = 10.0  # where nothing is left but documents that cannot be embedded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A portion that is ready to be written."""

    portion: Portion
    ingest: Ingest
    prepared: Prepared
    embedded: Embedded
    failed: tuple[RecordError, ...]


class Backfill:
    """For whoever holds the lock of reindexing."""

    def __init__(self, database: Database, pipeline: Pipeline, clock: Clock) -> None:
        self._database = database
        self._pipeline = pipeline
        self._clock = clock
        self._written_next = True

    def portion(self, reindex: Reindex) -> bool:
        """Bring over the next portion, if there is one, and let the machine rest by the reindex' share.

        What was written meanwhile and what was there before take turns. Raises what the models raise, ReindexConflict.
        """
        began = time.monotonic()
        portion = self._next(reindex)
        if portion is None:
            return False
        made = self._made(reindex, portion, Priority.BULK)
        reached("reindex.embedded")

        def seal(session: WriteSession, ingested: Ingested) -> None:
            self._strike_out(session, reindex, made, ingested, time.monotonic() - began)
            reached("reindex.portion_written")

        made.ingest.store(made.prepared, made.embedded, seal, deletions=portion.gone)
        reached("reindex.portion_committed")
        return True

    def follows(self, reindex: Reindex) -> bool:
        """Whether the hidden generation lacks no more than may just have been written."""
        with self._database.read() as session:
            waiting = pending_count(session, reindex)
        # A reason may be a document's that waits; where none does, it is another, and looking again may end it.
        return not waiting or (waiting <= BATCH_DOCUMENTS and reindex.reason is None)

    def catch_up(self, reindex: Reindex, priority: Priority) -> None:
        """Bring over what was written meanwhile, all but a little. Raises NotCaughtUp where writers are quicker."""
        for _ in range(_ROUNDS):
            portion, is_all = self._written(reindex, BATCH_DOCUMENTS)
            if is_all and len(portion) <= _LAST_DOCUMENTS // 2 and portion.characters <= _CHARACTERS // 2:
                return
            made = self._made(reindex, portion, priority)
            self._refuse_failures(made)

            def seal(session: WriteSession, ingested: Ingested, made: _Made = made) -> None:
                self._strike_out(session, reindex, made, ingested, 0.0)

            made.ingest.store(made.prepared, made.embedded, seal, deletions=portion.gone)
        raise NotCaughtUp

    def switch(self, reindex: Reindex, states: Sequence[ReindexState], into: ReindexState) -> Reindex:
        """Hold the writers back for a moment, bring over what is left, and change the names, in one transaction.

        What is left is embedded before the transaction. Raises NotCaughtUp where that is too much or takes too long.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="switch") as thread, self._database.writers_held() as write:
            reached("reindex.switch_held")
            portion, is_all = self._written(reindex, _LAST_DOCUMENTS)
            if not is_all:
                raise NotCaughtUp
            made = None
            if len(portion):
                coming = thread.submit(self._made, reindex, portion, Priority.INTERACTIVE)
                try:
                    made = coming.result(_HELD_SECONDS)
                except TooLate:
                    raise NotCaughtUp from None
                self._refuse_failures(made)
            with write() as session:
                if made is not None:
                    ingested = made.ingest.write(session, made.prepared, made.embedded, deletions=portion.gone)
                    self._strike_out(session, reindex, made, ingested, 0.0)
                done = switch(session, reindex, states=states, into=into, now=self._clock(session))
        reached("reindex.switch_committed")
        return done

    def _written(self, reindex: Reindex, documents: int) -> tuple[Portion, bool]:
        """Of what was written meanwhile a portion of so many documents at most, and whether it is all of that."""
        with self._database.read() as session:
            portion = written_portion(session, reindex, documents=documents, characters=_CHARACTERS)
            return portion, pending_count(session, reindex) == len(portion)

    def _next(self, reindex: Reindex) -> Portion | None:
        limits = {"documents": BATCH_DOCUMENTS, "characters": _CHARACTERS}
        with self._database.read() as session:
            written = written_portion(session, reindex, **limits)
            if reindex.scanned:
                return written if len(written) else None
            self._written_next = not self._written_next
            if len(written) and self._written_next:
                return written
            portion = next_portion(session, reindex, **limits)
        if len(portion):
            return portion
        with self._database.write() as session:  # what came after that read is written, and noted
            changed(session, reindex, (ReindexState.BUILDING,), scanned=True)
        return written if len(written) else None

    def _made(self, reindex: Reindex, portion: Portion, priority: Priority) -> _Made:
        with self._database.read() as session:
            hidden = hidden_collection(session, reindex)
        ingest = self._pipeline.ingest_into(hidden, priority)
        outlines, refused = ingest.outlines(portion.documents)
        prepared = ingest.prepare(outlines, refused)
        embedded = ingest.embed(prepared, lambda passages, tokens: None)
        failed = (*refused, *embedded.failed)
        return _Made(portion=portion, ingest=ingest, prepared=prepared, embedded=embedded, failed=failed)

    def _refuse_failures(self, made: _Made) -> None:
        """A switch would lose them."""
        if made.failed:
            raise DocumentsRefused(_said(made.failed), param="collection")

    def _strike_out(
        self, session: WriteSession, reindex: Reindex, made: _Made, ingested: Ingested, seconds: float
    ) -> None:
        failed = made.failed
        only_failures = bool(failed) and len(failed) == len(made.portion)
        rest = seconds * (1.0 / reindex.share - 1.0)
        if reindex.scanned:
            rest = 0.0  # it only follows, and would lag behind
        columns: dict[str, object] = {
            "reason": _said(failed) if failed else None,
            "failures": 0,
            "passages": reindex.passages + ingested.passages,
            "tokens": reindex.tokens + ingested.tokens,
            "busy_seconds": reindex.busy_seconds + seconds,
            "paused_at": self._clock(session),
            "pause_seconds": _PAUSE_FOR_FAILURES if only_failures and reindex.scanned else rest,
        }
        strike_out(session, reindex, made.portion, [failure.id for failure in failed if failure.id], **columns)


def _said(failed: Sequence[RecordError]) -> str:
    first = failed[0]
    return f"document {first.id!r:.100} cannot be brought over: {first.reason}; change it or delete it" + (
        f" ({len(failed) - 1} more like it)" if len(failed) > 1 else ""
    )
