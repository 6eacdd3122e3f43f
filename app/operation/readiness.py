"""Readiness checks: whether this process can serve, and if not, what is wrong."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from app.wiring import Wiring
from core.context import Awaited, awaited
from core.errors import SalienceError
from store.catalog import has_collections
from store.maintenance import maintained_by

FRESH_CHANGES = 10_000  # that a snapshot may be behind: the next search reads them in some hundred milliseconds
INDEX_SECONDS = 1.0  # timeout for Milvus: probes do not wait for long
FAILING_SECONDS = 60.0  # for which a maintenance chore may fail, for example while the disk is full for a moment
UNMAINTAINED_SECONDS = 10.0  # for which nobody may maintain the data directory: another process takes over by then


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    text: str  # what was found; if not ok, what is wrong and what helps
    needed: bool = True  # False: a failure does not make the process unready, as it can serve everything else


class Readiness:
    """Runs the checks of one process. Thread-safe."""

    def __init__(self, parts: Wiring) -> None:
        self._parts = parts
        self._stopping = False
        self._threads: dict[str, threading.Thread] = {}
        self._maintained_at = time.monotonic()
        self._catching_up = threading.Lock()

    def expect(self, worker: threading.Thread, reindexing: threading.Thread) -> None:
        """Check from now on that these threads, which process jobs and reindexes here, are alive."""
        self._threads = {"worker": worker, "reindexing": reindexing}

    def stop(self) -> None:
        """Report from now on that the process is not ready."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping

    def findings(self) -> list[Finding]:
        """Run all checks. They read the database and the disk, so do not call this in the event loop."""
        return list(self._check())

    def _check(self) -> Iterator[Finding]:
        yield self._process()
        yield self._model()
        if failing := self._parts.models.failing:
            text = "; ".join(f"{name} cannot be loaded: {reason}" for name, reason in failing.items())
            yield Finding(name="models", ok=False, text=text, needed=False)
        database = self._database()
        yield database
        if database.ok:
            yield self._snapshots()
        if self._parts.settings.milvus.uri is not None:
            yield self._index()
        yield self._disk()
        yield self._worker()
        yield self._alive("reindexing")
        yield self._maintenance()

    def _process(self) -> Finding:
        return Finding(name="process", ok=not self._stopping, text="stopping" if self._stopping else "serving")

    def _model(self) -> Finding:
        loaded = self._parts.model_loaded
        return Finding(name="model", ok=loaded, text=self._parts.encoder.name if loaded else "not loaded")

    def _database(self) -> Finding:
        try:
            with self._parts.database.read() as session:
                has_collections(session)
        except SalienceError as error:
            return Finding(name="database", ok=False, text=error.message)
        return Finding(name="database", ok=True, text="ok")

    def _snapshots(self) -> Finding:
        try:
            held = self._parts.views.held()
        except SalienceError as error:
            return Finding(name="snapshots", ok=False, text=error.message)
        late = [one.collection for one in held if one.behind > FRESH_CHANGES]
        if late and self._catching_up.acquire(blocking=False):
            threading.Thread(target=self._catch_up, args=(late,), name="catch-up", daemon=True).start()
        furthest = max((one.behind for one in held), default=0)
        text = f"{len(held)} collections in memory, at most {furthest} changes behind"
        if late:
            text += f": over {FRESH_CHANGES}; they are being read now"
        return Finding(name="snapshots", ok=not late, text=text)

    def _catch_up(self, names: list[str]) -> None:
        try:
            for name in names:
                with self._parts.views.open(name):
                    pass
        except SalienceError:
            pass  # the collection was deleted, or the database fails, which the next check reports
        finally:
            self._catching_up.release()

    def _index(self) -> Finding:
        try:
            with awaited(Awaited(time.monotonic() + INDEX_SECONDS)):
                text = "" if self._parts.passage_index is None else self._parts.passage_index.check()
        except SalienceError:
            away = (
                "Milvus does not answer: collections with the index milvus cannot be searched; "
                "salience doctor says where it was looked for"
            )
            return Finding(name="index", ok=False, text=away, needed=False)
        return Finding(name="index", ok=True, text=text, needed=False)

    def _disk(self) -> Finding:
        floor = self._parts.settings.limits.free_bytes
        try:
            free = shutil.disk_usage(self._parts.settings.data_dir).free
        except OSError as error:
            return Finding(name="disk", ok=False, text=f"the data directory cannot be looked at: {error.strerror}")
        text = f"{free >> 20} MiB free"
        if free < floor:
            text += f", fewer than {floor >> 20} (limits.free_bytes): make room"
        return Finding(name="disk", ok=free >= floor, text=text)

    def _worker(self) -> Finding:
        found, problem = self._alive("worker"), self._parts.worker.problem
        if not found.ok or problem is None:
            return found
        return Finding(name="worker", ok=False, text=problem, needed=False)

    def _alive(self, name: str) -> Finding:
        thread = self._threads.get(name)
        if thread is None:
            return Finding(name=name, ok=True, text="none here")
        alive = thread.is_alive()
        return Finding(name=name, ok=alive, text="alive" if alive else "its thread has ended: start this anew")

    def _maintenance(self) -> Finding:
        try:
            who = "this process" if self._parts.maintenance.owns else maintained_by(self._parts.settings.data_dir)
        except SalienceError as error:
            return Finding(name="maintenance", ok=False, text=error.message)
        now = time.monotonic()
        if who is not None:
            self._maintained_at = now
        failing = [one for one in self._parts.maintenance.failing if one.seconds >= FAILING_SECONDS]
        if failing:
            text = "; ".join(f"{one.chore} has failed for {one.seconds:.0f} s: {one.reason}" for one in failing)
            return Finding(name="maintenance", ok=False, text=text, needed=False)
        alone = now - self._maintained_at
        text = who or f"nobody for {alone:.0f} s: the write-ahead log grows"
        return Finding(name="maintenance", ok=alone < UNMAINTAINED_SECONDS, text=text)
