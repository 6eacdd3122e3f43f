"""Opening views: the snapshots that they share, and how these come to the newest state."""

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

_NAMES = 256  # of which is remembered what was opened under them
_KEPT = 512  # snapshots, those that were opened last: one takes tens of kilobytes, however few passages it has
_LOOK_SECONDS = 5.0  # at most so often it is looked what is gone when another collection is read


class Views:
    """Opens views, and keeps the snapshots that they share: those of the collections searched last. Thread-safe."""

    def __init__(self, database: Database, index: PassageIndex | None = None) -> None:
        """`index`: what holds collections of the index kind milvus; None: those cannot be searched."""
        self._database = database
        self._index = index
        self._slots: OrderedDict[int, _Slot] = OrderedDict()  # by generation, the one opened last at the end
        self._lock = threading.Lock()  # of the slots
        self._looked = float("-inf")
        self._lately: dict[str, Collection] = {}  # by the name that it was opened under

    def collection(self, name: str) -> Collection:
        """What is searched for now under this name, without opening a view. Raises CollectionNotFound."""
        with self._database.read() as session:
            return find_collection(session, name)

    def lately(self, name: str) -> Collection | None:
        """What the last view under this name was of, without a look at the database; None: there was none lately.

        By now it may be another one, or none: the next view says so.
        """
        return self._lately.get(name)

    @contextmanager
    def open(self, name: str) -> Iterator[View]:
        """The present state of the collection `name`.

        The first view of a collection reads it into memory; later ones read what was committed since.

        Raises CollectionNotFound, and StorageError as `Database.read`; where an engine elsewhere holds the collection,
        StorageCorrupt where its row is lost, IndexUnavailable where too much waits to be brought there.
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
        """Of snapshots whose generations are gone, or no longer searched: their memory, and the room of their files.

        Views that are open keep theirs. `outdated`: also of those over segments that others took the place of, where
        no search comes to renew them. Raises StorageError.
        """
        with self._database.read() as session:
            self._let_go(session, outdated=outdated)

    def held(self) -> list[Held]:
        """The snapshots that are in memory, and how far the database has gone beyond each. Raises StorageError."""
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
        """The snapshot of the session's state; None when another thread has already gone beyond it."""
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
        if present.collection != collection:  # other settings, or the name that it goes by since a switch
            present = slot.resettled(present, collection)
        return slot.resealed(session, present) if present.newest_segment < newest_segment or slot.files.due else present

    def _slot(self, generation: int) -> _Slot:
        with self._lock:
            slot = self._slots.get(generation)
            if slot is None:
                slot = self._slots[generation] = _Slot(OpenSegments(self._database.directory))
            self._slots.move_to_end(generation)
            while len(self._slots) > _KEPT:
                self._slots.popitem(last=False)  # views that are open keep theirs
            return slot

    def _present(self) -> dict[int, _Slot]:
        with self._lock:
            return dict(self._slots)

    def _look(self, session: ReadSession) -> None:
        """Let go of what is gone, unless that was looked at a moment ago: it takes a look at each generation held."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._let_go(session)

    def _let_go(self, session: ReadSession, *, outdated: bool = False) -> None:
        self._looked = time.monotonic()
        slots = self._present()  # what comes meanwhile, other threads' beginnings, is not asked for
        states = current_states(session, _active(slots))
        for generation, slot in slots.items():
            newest = states.get(generation)
            behind = newest is not None and slot.snapshot is not None and slot.snapshot.newest_segment < newest[1]
            if newest is None or (outdated and behind):
                with self._lock:
                    self._slots.pop(generation, None)


def _active(generations: Iterable[int]) -> sa.ColumnElement[bool]:
    """Whether it is one of these, and searches are answered from it."""
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
    """The newest snapshot of a generation. Replaced, under the lock; never changed."""

    files: OpenSegments
    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    resealing: threading.Lock = field(default_factory=threading.Lock)  # one thread opens new segments, others go on

    def followed(self, session: ReadSession, collection: Collection, record: IndexRecord, seq: int) -> Snapshot | None:
        """That of the session's state, where an engine elsewhere holds the generation; None: it is an old state."""
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
        """`present`, over newly sealed segments where this thread is the one to open them. Both score alike."""
        if not self.resealing.acquire(blocking=False):
            return present
        try:
            fresh = present.resealed(session, self.files)
            with self.lock:
                if self.snapshot is present:  # else a later search does it, with files that are open already
                    self.snapshot = fresh
            return fresh
        finally:
            self.resealing.release()
