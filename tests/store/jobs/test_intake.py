"""What comes in as a job: seen when it is whole, kept as it was, and removed where it never came whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import CollectionNotFound, JobConflict, JobNotFound, LeaseLost
from core.records import Collection, CollectionSettings, Document, JobState
from store import Database, catalog
from store.jobs import get_job, list_jobs, queued_documents
from store.jobs.intake import Intake, append, begin, finish, job_with_key, unfinished_job
from store.jobs.notices import MAX_LISTED, JobNotice, NoticeKind, job_notices
from store.jobs.payload import QueuedDocument, pack, unpack
from tests.store import library
from tests.store.jobs.queueing import LEASE, NOW, batches, item, queue, swept, take, taken, work
from tests.store.library import FINGERPRINT


def test_a_payload_comes_back_as_it_was() -> None:
    odd = Document(id="é\u2028", text="🎮 \x00 text", title="T", metadata={"a": [1, None, {"b": 0.5}]})
    items = [
        QueuedDocument(document=odd, path="na\udcffme", line=3),
        QueuedDocument(document=Document(id="b", text="")),
    ]
    assert unpack(pack(items)) == items


def test_a_job_is_seen_when_it_is_whole(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key="k", now=NOW)
        append(session, lease, Intake(read=1, batches=[(1, pack([item(0)]))]), now=NOW)
        with pytest.raises(JobNotFound):
            get_job(session, lease.job_id)
        assert list_jobs(session, limit=9) == []
        assert queued_documents(session) == 1
        found = job_with_key(session, collection.id, "k")
        assert found is not None
        assert found[1] is None
        with pytest.raises(JobConflict, match="being received"):
            begin(session, collection, "another", seconds=LEASE, key="k", now=NOW)
    assert take(database, NOW + 999) is None


def test_a_collection_that_goes_while_documents_come_in(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "r", seconds=LEASE, key=None, now=NOW)
        catalog.delete_collection(session, collection.name)
    with pytest.raises(CollectionNotFound), database.write() as session:
        finish(session, lease, digest=b"", now=NOW)
    with pytest.raises(CollectionNotFound), database.write() as session:
        begin(session, collection, "r", seconds=LEASE, key=None, now=NOW)


def test_what_never_came_whole_is_swept_away(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key="k", now=NOW)
        rows = [(1, pack([item(number)])) for number in range(45)]
        append(session, lease, Intake(read=45, batches=rows), now=NOW)
    swept(database, NOW + LEASE - 1)
    assert len(batches(database)) == 45
    swept(database, NOW + LEASE)
    assert batches(database) == []
    with pytest.raises(LeaseLost), database.write() as session:
        append(session, lease, Intake(), now=NOW)
    queue(database, collection, 1, key="k")


def test_the_same_content_is_recognised_while_something_is_left(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, digest=b"a")
    with database.read() as session:
        found = unfinished_job(session, collection.id, b"a")
        assert found is not None
        assert unfinished_job(session, collection.id, b"b") is None
    work(database, taken(database))
    with database.read() as session:
        assert unfinished_job(session, collection.id, b"a") is None


def test_errors_are_all_kept_and_other_notices_up_to_a_limit(database: Database, collection: Collection) -> None:
    count = MAX_LISTED + 5
    kinds = (NoticeKind.ERROR, NoticeKind.DUPLICATE)
    notices = [JobNotice(kind=kind, document_id=f"\udfff{n}", reason="r") for n in range(count) for kind in kinds]
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=None, now=NOW)
        append(session, lease, Intake(read=count, notices=notices[:100]), now=NOW)
        append(session, lease, Intake(notices=notices[100:]), now=NOW)
        done = finish(session, lease, digest=b"", now=NOW)
    assert (done.state, done.failed, done.duplicates) == (JobState.DONE, count, count)
    with database.read() as session:
        listed = {kind: len(job_notices(session, 1, kind, limit=9999)) for kind in kinds}
    assert listed == {NoticeKind.ERROR: count, NoticeKind.DUPLICATE: MAX_LISTED}


def test_a_data_directory_from_before_there_were_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        for module in ("store.migrate", "store.database"):
            before.setattr(f"{module}.SCHEMA_VERSION", "0002")
        old = Database.open(tmp_path)
        with old.write() as session:
            generation = f"1, 1, 'test', '{FINGERPRINT}', {library.DIMENSION}, 'active'"
            values = f"1, 1, 'a', 'en', x'{library.sha_of('whale').hex()}', '', '{{}}', 'whale'"
            session.execute(
                sa.insert(sa.table("collection", *map(sa.column, ("id", "name", "settings", "created_at")))),
                {"id": 1, "name": "books", "settings": json.dumps(asdict(CollectionSettings())), "created_at": "2026"},
            )
            session.execute(
                sa.text(
                    "INSERT INTO generation (id, collection_id, model, fingerprint, dimension, state) "
                    f"VALUES ({generation})"
                )
            )
            columns = "id, collection_id, external_id, language, content_sha, title, metadata, text"
            session.execute(sa.text(f"INSERT INTO document ({columns}) VALUES ({values})"))
        with pytest.raises(sa.exc.OperationalError, match="no such table: job"), old._engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM job")
        old.close()
    opened = Database.open(tmp_path)
    with opened.read() as session:
        collection = catalog.get_collection(session, "books")
    queue(opened, collection, 1)
    assert work(opened, taken(opened)).state is JobState.DONE
    with opened.read() as session:
        assert catalog.counts(session, collection.id).documents == 1
    opened.close()
