"""Every way in which the store writes, on a disk that fills up: an error that says so, nothing half written, and on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import StillReceived, StorageFull
from core.records import Collection, Document, JobState
from indexer.intake import receive
from indexer.records import Origin
from indexer.worker import JobPolicy, Worker
from store import Batch, Database, Embedding, Views, schema
from store.backup import backup, restore
from store.catalog import get_collection
from store.clock import database_now
from store.commit import commit
from store.jobs import list_jobs
from store.segments.files import SEGMENTS
from store.segments.sealing import rebuild, seal
from store.segments.upkeep import compact
from store.verify import verify
from tests.indexer.fakes import FakeEncoder, pipeline_of
from tests.indexer.fakes import create as create_for_fake
from tests.store.diskfull.disk import Disk
from tests.store.library import FINGERPRINT, Item, create, draft_of, sha_of, terms_of
from tests.store.versions import unit_vector, version_of, write_version

KEPT = [Item(id=f"kept{number}", text=f"kept words {number}", metadata={"n": number}) for number in range(20)]
LARGE = [Item(id=f"large{number}", text=f"large {number} " * 300) for number in range(400)]  # more than a megabyte
# Bytes that can still be written: the error comes at the first write, within the log, near its end.
ROOMS = (0, 20_000, 200_000, 900_000)


def a_commit(disk: Disk, folder: Path) -> None:
    database, collection = _stocked(folder)
    for room in ROOMS:
        _refused(disk, room, database, lambda: _put(database, collection, *LARGE, delete=["kept1"]))
    _put(database, collection, *LARGE, delete=["kept1"])
    assert _ids(database) == sorted([item.id for item in [*KEPT, *LARGE] if item.id != "kept1"])
    _close(database)


def a_deletion(disk: Disk, folder: Path) -> None:
    database, collection = _stocked(folder)
    _refused(disk, 0, database, lambda: _put(database, collection, delete=["kept1"]))
    _put(database, collection, delete=["kept1"])
    _close(database)


def a_first_opening(disk: Disk, folder: Path) -> None:
    with disk.full(), pytest.raises(StorageFull):
        Database.open(folder / "data")
    database = Database.open(folder / "data")
    create(database)
    _close(database)


def an_opening(disk: Disk, folder: Path) -> None:
    """SQLite shares an index of its log in a file: where that cannot be made, it is said why."""
    database, _ = _stocked(folder)
    database.close()
    with disk.full(), pytest.raises(StorageFull, match="no room to write"):
        Database.open(folder / "data")
    database = Database.open(folder / "data")
    assert _ids(database) == sorted(item.id for item in KEPT)
    _close(database)


def a_job_coming_in(disk: Disk, folder: Path) -> None:
    database = Database.open(folder / "data")
    create_for_fake(database)
    with database.read() as session:
        collection = get_collection(session, "c")

    def documents() -> Iterator[tuple[Origin, Document]]:
        for number in range(2000):
            yield Origin(path="body", line=number + 1), Document(id=f"d{number}", text=_noise(number))

    for room in (*ROOMS, 5 * 2**20):
        with disk.full(room), pytest.raises(StorageFull):
            receive(database, collection, documents(), receiver="test", key=f"key {room}")
        with database.read() as session:
            assert list_jobs(session, limit=9) == []
    with suppress(StillReceived):  # there was no room to delete what had come in: it goes when its lease is over
        receive(database, collection, documents(), receiver="test", key=f"key {room}")
    worker = Worker(database, pipeline_of(database, FakeEncoder()), clock=lambda session: database_now(session) + 60)
    while worker._sweep():
        pass
    job = receive(database, collection, documents(), receiver="test", key=f"key {room}")
    assert (job.state, job.pending, job.total) == (JobState.QUEUED, 2000, 2000)
    with database.read() as session:
        waiting = sa.select(sa.func.sum(schema.job_batch.c.documents)).where(schema.job_batch.c.job_id == job.id)
        assert session.execute(waiting).scalar_one() == 2000
    _close(database)


def a_job_at_work(disk: Disk, folder: Path) -> None:
    """It waits, and goes on by itself, whether or not there is room to write down that it failed."""
    database = Database.open(folder / "data")
    collection = create_for_fake(database)
    items = ((None, Document(id=f"d{number}", text=f"text {number} " * 50)) for number in range(300))
    job = receive(database, collection, items, receiver="test")
    worker = Worker(database, pipeline_of(database, FakeEncoder()), JobPolicy(lease_seconds=0.1, backoff_seconds=0.01))
    for room in (0, 30_000, 100_000):
        with disk.full(room):
            with suppress(StorageFull):
                worker.drain()
            with Views(database).open("c") as view:
                assert view.passage_count % 128 == 0
    done = worker.finish(job.id)
    assert (done.state, done.created, done.failed, done.attempts) == (JobState.DONE, 300, 0, 0)
    _close(database)


def a_backup(disk: Disk, folder: Path) -> None:
    database, collection = _stocked(folder)
    _put(database, collection, *LARGE)
    for room in (0, 20_000, 900_000):
        with disk.full(room if disk.counts_the_whole else 0), pytest.raises(StorageFull, match="no room"):
            backup(folder / "data", folder / "copy")
        assert [path.name for path in folder.iterdir()] == ["data"]
    assert backup(folder / "data", folder / "copy").ok
    _close(database)


def a_restore(disk: Disk, folder: Path) -> None:
    database, collection = _stocked(folder)
    _put(database, collection, *LARGE)
    database.close()
    assert backup(folder / "data", folder / "copy").ok
    for room in (0, 20_000, 900_000):
        with disk.full(room if disk.counts_the_whole else 0), pytest.raises(StorageFull, match="no room"):
            restore(folder / "copy", folder / "new")
        assert [path.name for path in folder.glob("new/*")] in ([], ["migrate.lock"])
    assert restore(folder / "copy", folder / "new").ok
    assert verify(folder / "new").ok


def an_upgrade(disk: Disk, folder: Path) -> None:
    write_version(folder / "data", "0002")
    for room in (0, 20_000, 60_000):
        with disk.full(room if disk.counts_the_whole else 0), pytest.raises(StorageFull, match="no room"):
            Database.open(folder / "data")
        assert version_of(folder / "data") == "0002"
        assert list((folder / "data" / "backups").glob("*")) == []
    _close(Database.open(folder / "data"))


def a_checkpoint(disk: Disk, folder: Path) -> None:
    """What was committed is in the log, and stays there until there is room."""
    database, collection = _stocked(folder)
    _put(database, collection, *LARGE)
    log = folder / "data" / "salience.db-wal"
    size = log.stat().st_size
    for room in (0, 50_000):
        with disk.full(room if disk.counts_the_whole else 0):
            with pytest.raises(StorageFull):
                database.checkpoint()
            assert log.stat().st_size == size
            assert len(_ids(database)) == len(KEPT) + len(LARGE)
    database.checkpoint()
    assert log.stat().st_size == 0
    _close(database)


def segments(disk: Disk, folder: Path) -> None:
    """Sealing, merging and making anew: a file that does not fit is gone again, and searches miss nothing."""
    database, collection = _stocked(folder)
    generation = collection.active.id
    rooms = (0, 2_000, 12_000) if disk.counts_the_whole else (0,)
    works: list[Callable[[], bool]] = [
        lambda: seal(database, generation),
        lambda: seal(database, generation),
        lambda: compact(database, collection),
        lambda: rebuild(database, generation),
    ]
    for number, work in enumerate(works):
        if number == 3:
            for file in (folder / "data" / SEGMENTS).iterdir():
                file.unlink()
        elif number < 2:
            _put(database, collection, *(Item(id=f"{number} {i}", text=f"kept {number} {i}") for i in range(200)))
        for room in rooms:
            files = _segment_files(folder)
            _refused(disk, room, database, work)
            assert _segment_files(folder) == files
        assert work(), number
    assert len(_segment_files(folder)) == 1, _segment_files(folder)
    _close(database)


def _segment_files(folder: Path) -> list[str]:
    """All that have something in them: the mark of a missing one is empty."""
    return sorted(path.name for path in folder.glob(f"data/{SEGMENTS}/*") if path.stat().st_size)


def _stocked(folder: Path) -> tuple[Database, Collection]:
    database = Database.open(folder / "data")
    collection = create(database)
    _put(database, collection, *KEPT)
    return database, collection


def _put(database: Database, collection: Collection, *items: Item, delete: Sequence[str] = ()) -> None:
    lines = {line for item in items for _, line in item.lines()}
    embeddings = {sha_of(line): Embedding(vector=unit_vector(line), terms=terms_of(line)) for line in lines}
    drafts = tuple(draft_of(item, collection.settings.fields) for item in items)
    batch = Batch(
        collection=collection, fingerprint=FINGERPRINT, drafts=drafts, embeddings=embeddings, deletions=tuple(delete)
    )
    with database.write() as session:
        commit(session, batch)


def _refused(disk: Disk, room: int, database: Database, write: Callable[[], object]) -> None:
    """The write fails for want of room, and leaves no trace; reading goes on meanwhile and afterwards."""
    before = _ids(database)
    views = Views(database)
    with disk.full(room):
        with pytest.raises(StorageFull, match="no room to write") as caught:
            write()
        assert caught.value.retryable
        assert _ids(database) == before
        with views.open("books") as view:
            hits = view.fetch(view.matching({"kept": 1.0}, 1000).ids)
            assert sorted(hit.document_id for hit in hits) == [id_ for id_ in before if not id_.startswith("large")]
    assert _ids(database) == before


def _ids(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.execute(sa.select(schema.document.c.external_id)).scalars())


def _close(database: Database) -> None:
    database.close()
    found = verify(database.directory)
    assert found.ok, found.findings


def _noise(number: int) -> str:
    """Text that no compression makes small: 4,000 characters."""
    return f"{random.Random(number).getrandbits(16_000):04000x}"
