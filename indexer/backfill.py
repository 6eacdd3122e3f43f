"""Backfill of a reindex: copies documents to its hidden generation in portions, and then switches to it."""

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

_CHARACTERS = 50_000  # of a portion's documents; a killed process loses its portion, which waited behind every query
_LAST_DOCUMENTS = 32  # at most, that the switch copies while it blocks writers
_HELD_SECONDS = 5.0  # at most, for the switch to embed these
_ROUNDS = 50  # of catching up, after which the writers count as too fast
_PAUSE_FOR_FAILURES = 10.0  # seconds, when only documents are left that cannot be embedded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A portion with its embeddings, ready to be written."""

    portion: Portion
    ingest: Ingest
    prepared: Prepared
    embedded: Embedded
    failed: tuple[RecordError, ...]


class Backfill:
    """Copies the documents of reindexes. The caller must hold the lock of reindexing, see indexer.preemption."""

    def __init__(self, database: Database, pipeline: Pipeline, clock: Clock) -> None:
        self._database = database
        self._pipeline = pipeline
        self._clock = clock
        self._written_next = True

    def portion(self, reindex: Reindex) -> bool:
        """Copy the next portion, and record the pause that keeps to the reindex's share. False if there is no portion.

        Portions alternate between documents written since the start of the reindex and those from before it. Raises
        what the models raise, and ReindexConflict.
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
        """Whether the hidden generation has caught up, but for at most BATCH_DOCUMENTS that were just written."""
        with self._database.read() as session:
            waiting = pending_count(session, reindex)
        # A reason may be that of a waiting document. If none waits, it is another, and a retry may clear it.
        return not waiting or (waiting <= BATCH_DOCUMENTS and reindex.reason is None)

    def catch_up(self, reindex: Reindex, priority: Priority) -> None:
        """Copy the documents written meanwhile, until few are left.

        Raises NotCaughtUp if writers are faster, and DocumentsRefused if a document cannot be embedded.
        """
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
        """Block writers for a moment, copy the remaining documents and swap the names, in one transaction.

        `states`: in which that is allowed; `into`: the state after it. The remaining documents are embedded before the
        transaction. Raises NotCaughtUp if they are too many or take too long, DocumentsRefused if one cannot be
        embedded, and ReindexConflict.
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
        """A portion of at most `documents` documents written meanwhile, and whether these are all of them."""
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
        with self._database.write() as session:  # writes after that read are noted as pending
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
        """Raise DocumentsRefused if documents of the portion failed: a switch would lose them."""
        if made.failed:
            raise DocumentsRefused(_said(made.failed), param="collection")

    def _strike_out(
        self, session: WriteSession, reindex: Reindex, made: _Made, ingested: Ingested, seconds: float
    ) -> None:
        failed = made.failed
        only_failures = bool(failed) and len(failed) == len(made.portion)
        rest = seconds * (1.0 / reindex.share - 1.0)
        if reindex.scanned:
            rest = 0.0  # only new writes are left, and with pauses it would lag behind them
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
