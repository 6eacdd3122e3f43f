"""What a child does until it is killed."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from indexer import intake
from indexer.pipeline import delete
from indexer.records import Origin
from indexer.worker import Worker
from store import Database, Views, failpoints
from store import database as database_module
from store import maintenance as maintenance_module
from store.backup import backup
from store.backup import restore as restore_backup
from store.catalog import get_collection, list_collections
from store.clock import database_now
from store.leftovers import remove_leftovers
from store.maintenance import Maintenance, MaintenancePolicy
from store.migrate import SCHEMA_VERSION
from store.processes import register
from store.segments import upkeep
from tests.collections import create_for
from tests.crash import codes
from tests.crash.child import LATER, Orders, Say
from tests.crash.workload import COLLECTIONS, JOB_BATCH, SETTINGS, STREAMS, Operation, operation
from tests.indexer.fakes import DIMENSION, FakeEncoder, pipeline_of

GRACE_SECONDS = 0.1  # for which a retired segment's file stays
_SEARCH_SECONDS = 0.05  # between two searches beside the writing
_BACKUP_SECONDS = 0.4  # between two backups, about


def write(orders: Orders, say: Say) -> None:
    """Several threads write, others search, make backups and keep the store in order, until all is written."""
    _make_everything_happen_soon()
    directory = Path(orders.home) / "data"
    database = Database.open(directory)
    register(directory, kind="worker", version="1.0.0", schema=SCHEMA_VERSION)
    remove_leftovers(directory, older_than=0.0)
    _create_collections(database, say)
    over = threading.Event()
    writers = [threading.Thread(target=_stream, args=(database, orders, stream, say)) for stream in STREAMS]
    others = [threading.Thread(target=beside, args=(database, orders, say, over)) for beside in (_search, _back_up)]
    policy = MaintenancePolicy(poll_seconds=0.03, takeover_seconds=0.01, clean_seconds=0.5)
    with Maintenance(database, _Upkeep(orders.seed), policy).running():
        for thread in (*writers, *others):
            thread.start()
        for thread in writers:
            thread.join()
        over.set()
        for thread in others:
            thread.join()


def restore(orders: Orders, say: Say) -> None:
    """Into a directory of its own."""
    restore_backup(Path(orders.home) / "backups" / orders.backup, Path(orders.home) / "restored")
    say("RESTORED")


def migrate(orders: Orders, say: Say) -> None:
    """Open a directory of an older version."""
    Database.open(Path(orders.home) / "data")
    say("MIGRATED")


def _make_everything_happen_soon() -> None:
    """Checkpoints after kilobytes, segments of dozens of passages with codes and lists, jobs of small batches."""
    database_module.CHECKPOINT_BYTES = 150_000
    maintenance_module.CHECKPOINT_BYTES = 150_000  # type: ignore[attr-defined]
    upkeep.SEAL_ROWS, upkeep.QUIET_ROWS, upkeep._LOOK_SECONDS = 60, 20, 0.2
    intake.batches = _of_a_job  # type: ignore[attr-defined]  # and not those of the pipeline: an operation is one commit
    codes.index_everything()


def _of_a_job(packed: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    rest = iter(packed)
    while batch := list(islice(rest, JOB_BATCH)):
        yield batch


class _Upkeep:
    """What is due, and now and then a compaction, or a new file without free pages.

    Some of it is done by another owner in the middle: the fence holds.

    As when the lock is not worth much: whoever began must see that it was overtaken, and let nothing in.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._seen = upkeep.Seen()
        self._database: Database | None = None
        self._announce = failpoints.observer
        failpoints.observer = self._reached

    def __call__(self, database: Database) -> bool:
        if self._chance.random() < 0.2:
            self._database = database  # whoever reads next for a segment is overtaken
        if self._chance.random() < 0.03:
            with database.read() as session:
                collections = list_collections(session)
            return upkeep.compact(database, self._chance.choice(collections))
        if self._chance.random() < 0.01:
            database.vacuum()
        return upkeep.maintain(database, self._seen, grace_seconds=GRACE_SECONDS)

    def _reached(self, step: str) -> None:
        if self._announce is not None:
            self._announce(step)
        if step in ("seal.read", "merge.read") and self._database is not None:
            database, self._database = self._database, None
            upkeep.maintain(database, upkeep.Seen(), grace_seconds=3600.0)


def _create_collections(database: Database, say: Say) -> None:
    with database.read() as session:
        there = {collection.name for collection in list_collections(session)}
    for name, settings in SETTINGS.items():
        if name not in there:
            create_for(FakeEncoder(), database, name, settings)
        say("CREATED", name)


def _stream(database: Database, orders: Orders, stream: int, say: Say) -> None:
    first = orders.next_operations[stream]
    for number in range(first, first + orders.operations):
        say("BEGIN", stream, number)
        _perform(database, orders.seed, operation(orders.seed, stream, number), say)
        say("DONE", stream, number)


def _perform(database: Database, seed: int, operation: Operation, say: Say) -> None:
    if operation.kind == "delete":
        delete(database, operation.collection, list(operation.effects[0]))
    elif operation.batches:
        _job(database, seed, operation, say)
    else:
        pipeline_of(database, FakeEncoder()).add(operation.collection, operation.documents())


def _job(database: Database, seed: int, operation: Operation, say: Say) -> None:
    """Queue the documents and work on them; one that is overtaken has its lease taken away in the middle of it."""
    items = [(Origin(path="body", line=line), document) for line, document in enumerate(operation.queued, start=1)]
    with database.read() as session:
        collection = get_collection(session, operation.collection)
    key = f"{seed}-{operation.stream}-{operation.number}"
    digest = hashlib.sha256(key.encode()).digest
    job = intake.repeated(database, collection, items, key=key, digest=digest) or intake.receive(
        database, collection, items, receiver="writer", key=key, digest=digest
    )
    say("QUEUED", operation.stream, operation.number)
    to_come = ["another worker"] if operation.kind == "overtaken" else []

    def overtake(_texts: list[str]) -> None:
        """While this worker sleeps, another one takes the job and ends it, and somebody writes a newer document."""
        if to_come:
            to_come.clear()
            later = pipeline_of(database, FakeEncoder())
            Worker(database, later, clock=lambda session: database_now(session) + LATER).finish(job.id)
            later.add(operation.collection, operation.documents(-1))

    Worker(database, pipeline_of(database, FakeEncoder(overtake))).finish(job.id)
    if to_come:  # the job was done before, by a process that was killed then
        pipeline_of(database, FakeEncoder()).add(operation.collection, operation.documents(-1))


def _search(database: Database, orders: Orders, say: Say, over: threading.Event) -> None:
    views, chance, directions = Views(database), random.Random(orders.seed), np.random.default_rng(orders.seed)
    while not over.wait(_SEARCH_SECONDS):
        with views.open(chance.choice(COLLECTIONS)) as view:
            view.matching({"kx1": 1.0}, 10)
            nearest = view.nearest(directions.standard_normal(DIMENSION, dtype=np.float32), 10)
            if len(nearest.ids) != min(10, view.passage_count):
                raise AssertionError(f"{len(nearest.ids)} of {view.passage_count} passages were found")


def _back_up(database: Database, orders: Orders, say: Say, over: threading.Event) -> None:
    home, chance = Path(orders.home), random.Random(orders.seed)
    while not over.wait(chance.uniform(0, 2 * _BACKUP_SECONDS)):
        name = f"{time.time_ns()}"
        say("BACKING", name)
        backup(home / "data", home / "backups" / name)
        say("BACKED", name)
