"""Open views of collections: keeps the snapshots that views share, and brings them to the newest state."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from core.errors import CollectionNotFound
from core.records import Collection, GenerationState, IndexKind
from store import schema
from store.catalog import find_collection
from store.database import Database, ReadSession
from store.indexedview import IndexedView
from store.passageindex.protocol import PassageIndex
from store.passageindex.record import IndexRecord, get_record
from store.segments.files import OpenSegments
from store.segments.rows import current_state, current_states
from store.snapshot import Snapshot, load, load_tail
from store.view import View

_NAMES = 256  # names for which the collection opened last is remembered
_KEPT = 512  # snapshots opened last: each takes tens of kilobytes, however few passages it has
_LOOK_SECONDS = 5.0  # minimum time between checks for deleted collections, made when another collection is read


class Views:
    """Opens views, and keeps the snapshots that they share: those of the collections searched last. Thread-safe."""

    def __init__(self, database: Database, index: PassageIndex | None = None) -> None:
        """`index`: the engine of collections with the index kind milvus; None: those cannot be searched."""
        self._database = database
        self._index = index
        self._slots: OrderedDict[int, _Slot] = OrderedDict()  # by generation, the one opened last at the end
        self._lock = threading.Lock()  # of the slots
        self._looked = float("-inf")
        self._lately: dict[str, Collection] = {}  # by the name that it was opened under

    def collection(self, name: str) -> Collection:
        """The collection now searched under this name, without opening a view. Raises CollectionNotFound."""
        with self._database.read() as session:
            return find_collection(session, name)

    def lately(self, name: str) -> Collection | None:
        """The collection of the last view under this name, without reading the database; None: no recent view.

        By now the name may stand for another collection, or none: the next view tells.
        """
        return self._lately.get(name)

    @contextmanager
    def open(self, name: str) -> Iterator[View]:
        """A view of the present state of the collection `name`.

        The first view of a collection reads it into memory; later ones read what was committed since.

        Raises CollectionNotFound, and StorageError like `Database.read`; for a collection in an external engine also
        StorageCorrupt where its record is lost, IndexUnavailable where too much waits to be replicated.
        """
        while True:
            with self._database.read() as session:
                try:
                    snapshot = self._snapshot(session, name)
                except CollectionNotFound:
                    self._lately.pop(name, None)
                    raise
                if snapshot:
                    if self._lately.get(name) is not snapshot.collection:
                        if len(self._lately) >= _NAMES:
                            self._lately.clear()
                        self._lately[name] = snapshot.collection
                    elsewhere = snapshot.elsewhere is not None
                    yield IndexedView(session, snapshot, self._index) if elsewhere else View(session, snapshot)
                    return

    def let_go(self, *, outdated: bool = False) -> None:
        """Drop snapshots whose generations are gone or no longer searched, freeing their memory and disk space.

        Open views keep theirs. `outdated`: also drop those over replaced segments, which no search would come to renew.
        Raises StorageError.
        """
        with self._database.read() as session:
            self._let_go(session, outdated=outdated)

    def held(self) -> list[Held]:
        """The snapshots in memory, and how far the database is ahead of each. Raises StorageError."""
        held = {generation: slot.snapshot for generation, slot in self._present().items()}
        with self._database.read() as session:
            states = current_states(session, _active(held))
        return [
            Held(
                collection=snapshot.collection.name,
                passages=snapshot.passage_count,
                behind=max(0, states[generation][0] - snapshot.seq),
            )
            for generation, snapshot in held.items()
            if snapshot is not None and generation in states
        ]

    def _snapshot(self, session: ReadSession, name: str) -> Snapshot | None:
        """The snapshot of the session's state; None when another thread has already moved on to a later state."""
        collection = find_collection(session, name)
        seq, newest_segment = current_state(session, collection.active.id)
        slot = self._slot(collection.active.id)
        if collection.settings.index is IndexKind.MILVUS:
            if not slot.snapshot:
                self._look(session)
            return slot.followed(session, collection, get_record(session, collection.active.id), seq)
        present = slot.snapshot
        if not present or present.seq != seq:
            with slot.lock:
                if not slot.snapshot:
                    self._look(session)
                    slot.snapshot = load(session, collection, slot.files)
                elif slot.snapshot.seq < seq:
                    slot.snapshot = slot.snapshot.advance(session)
                present = slot.snapshot
        if present.seq != seq:
            return None
        if present.collection != collection:  # other settings, or another name since a switch
            present = slot.resettled(present, collection)
        return slot.resealed(session, present) if present.newest_segment < newest_segment or slot.files.due else present

    def _slot(self, generation: int) -> _Slot:
        with self._lock:
            slot = self._slots.get(generation)
            if slot is None:
                slot = self._slots[generation] = _Slot(OpenSegments(self._database.directory))
            self._slots.move_to_end(generation)
            while len(self._slots) > _KEPT:
                self._slots.popitem(last=False)  # open views keep theirs
            return slot

    def _present(self) -> dict[int, _Slot]:
        with self._lock:
            return dict(self._slots)

    def _look(self, session: ReadSession) -> None:
        """Drop what is gone, unless that was checked a moment ago: the check looks at each generation held."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._let_go(session)

    def _let_go(self, session: ReadSession, *, outdated: bool = False) -> None:
        self._looked = time.monotonic()
        slots = self._present()  # slots that other threads add meanwhile are left alone
        states = current_states(session, _active(slots))
        for generation, slot in slots.items():
            newest = states.get(generation)
            behind = newest is not None and slot.snapshot is not None and slot.snapshot.newest_segment < newest[1]
            if newest is None or (outdated and behind):
                with self._lock:
                    self._slots.pop(generation, None)


def _active(generations: Iterable[int]) -> sa.ColumnElement[bool]:
    """Whether it is one of these generations, and active."""
    columns = schema.generation.c
    return columns.id.in_(list(generations)) & (columns.state == GenerationState.ACTIVE.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A snapshot in the memory of this process."""

    collection: str
    passages: int
    behind: int  # at most so many changes were committed since; the next view reads them


@dataclass(slots=True)
class _Slot:
    """The newest snapshot of a generation. Snapshots are immutable; replacing one needs the lock."""

    files: OpenSegments
    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    resealing: threading.Lock = field(default_factory=threading.Lock)  # held by the one thread that opens new segments

    def followed(self, session: ReadSession, collection: Collection, record: IndexRecord, seq: int) -> Snapshot | None:
        """The snapshot of the session's state, for a generation in an external engine; None: that state is outdated."""
        present = self.snapshot
        if not present or present.seq != seq or present.elsewhere != record:
            with self.lock:
                if self.snapshot and self.snapshot.seq > seq:
                    return None
                present = self.snapshot = load_tail(session, collection, record, self.snapshot)
        return present if present.collection == collection else self.resettled(present, collection)

    def resettled(self, present: Snapshot, collection: Collection) -> Snapshot:
        """`present`, scored by the settings of `collection`."""
        fresh = present.under(collection)
        with self.lock:
            if self.snapshot is present:
                self.snapshot = fresh
        return fresh

    def resealed(self, session: ReadSession, present: Snapshot) -> Snapshot:
        """`present` over newly sealed segments, unless another thread is opening them already. Both score alike."""
        if not self.resealing.acquire(blocking=False):
            return present
        try:
            fresh = present.resealed(session, self.files)
            with self.lock:
                if self.snapshot is present:  # otherwise a later search does this, with the files already open
                    self.snapshot = fresh
            return fresh
        finally:
            self.resealing.release()
