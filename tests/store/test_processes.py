"""Several processes over one data directory: who is there, who goes with whom, who sees what when."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.errors import CollectionNotFound, DirectoryInUse, SchemaTooNew, SeqNotReached
from core.records import Collection
from store import Database, Views, catalog
from store.migrate import SCHEMA_VERSION
from store.processes import Process, processes, register
from store.verify import verify
from store.waiting import wait_for_seq
from tests.store.children import running
from tests.store.library import Item, create, delete_books, put
from tests.store.versions import write_version

_REGISTER = """
import sys
from pathlib import Path
from core.errors import DirectoryInUse
from store.processes import register
try:
    entry = register(Path(sys.argv[1]), kind="serve", version=sys.argv[2], schema=sys.argv[3], address="http://x:1")
except DirectoryInUse as error:
    print(error.message, flush=True)
else:
    print("registered", flush=True)
    sys.stdin.readline()
    entry.close()
    print("left", flush=True)
    sys.stdin.read()
"""


def test_processes_are_listed_while_they_live_however_they_end(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    arguments = (str(tmp_path), "0.1.0", SCHEMA_VERSION)
    assert processes(tmp_path) == []
    with running(_REGISTER, *arguments) as killed, running(_REGISTER, *arguments) as stopped:
        assert (killed.line(), stopped.line()) == ("registered", "registered")
        with register(tmp_path, kind="worker", version="0.1.0", schema=SCHEMA_VERSION):
            there = {process.pid: process for process in processes(tmp_path)}
            assert sorted(process.kind for process in there.values()) == ["serve", "serve", "worker"]
            assert there[killed.process.pid].address == "http://x:1"
        killed.kill()
        assert [process.pid for process in processes(tmp_path)] == [stopped.process.pid]
        stopped.tell("leave")
        assert stopped.line() == "left"
    assert processes(tmp_path) == []
    assert list((tmp_path / "processes").iterdir()) == []


def test_many_register_at_once(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    with ExitStack() as stack:
        children = [stack.enter_context(running(_REGISTER, str(tmp_path), "0.1.0", "0005")) for _ in range(3)]
        assert [child.line() for child in children] == ["registered"] * 3
        assert {process.pid for process in processes(tmp_path)} == {child.process.pid for child in children}


@pytest.mark.parametrize(("version", "schema"), [("0.2.0", SCHEMA_VERSION), ("0.1.0", "0999")])
def test_a_process_that_does_not_go_with_one_that_is_there_is_refused(
    tmp_path: Path, version: str, schema: str
) -> None:
    Database.open(tmp_path).close()
    with register(tmp_path, kind="serve", version="0.1.0", schema=SCHEMA_VERSION, address="http://here:8080") as entry:
        (here,) = processes(tmp_path)
        with running(_REGISTER, str(tmp_path), version, schema) as second:
            said = second.line()
        for part in (
            f"process {here.pid} on {here.host}",
            "http://here:8080",
            f"version {version}",
            f"schema {schema}",
        ):
            assert part in said
        assert "Stop the other one" in said
        entry.close()
        with running(_REGISTER, str(tmp_path), version, schema) as third:
            assert third.line() == "registered"


def test_patch_releases_go_together() -> None:
    def process(version: str, schema: str = "0005") -> Process:
        return Process(kind="serve", pid=1, host="h", version=version, schema=schema, started_at="")

    assert process("0.1.0").goes_with(process("0.1.7"))
    assert not process("0.1.0").goes_with(process("0.10.0"))
    assert not process("0.1.0").goes_with(process("0.1.0", "0006"))


def test_an_upgrade_waits_until_older_processes_have_ended(tmp_path: Path) -> None:
    data = tmp_path / "old"
    write_version(data, "0001")
    with running(_REGISTER, str(data), "0.0.9", "0001") as older:
        assert older.line() == "registered"
        with pytest.raises(DirectoryInUse, match=rf"upgraded to schema {SCHEMA_VERSION}.*process {older.process.pid}"):
            Database.open(data)
        assert verify(data).version == "0001"
        assert not (data / "backups").exists()
        older.kill()
        Database.open(data).close()
    assert verify(data).version == SCHEMA_VERSION


def test_a_process_that_was_overtaken_by_an_upgrade_writes_no_more(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="before", text="words"))
    with sqlite3.connect(database.directory / "salience.db") as newer:
        newer.execute("UPDATE alembic_version SET version_num = '0999'")
    newer.close()
    with pytest.raises(SchemaTooNew, match=f"upgraded to schema 0999 .* speaks {SCHEMA_VERSION}; nothing was written"):
        put(database, collection, Item(id="after", text="words"))
    with database.read() as session:
        assert catalog.counts(session, collection.id).documents == 1


_WRITE = """
import sys, time
from pathlib import Path
from store import Database, catalog
from tests.store.library import Item, put
database = Database.open(Path(sys.argv[1]))
with database.read() as session:
    collection = catalog.get_collection(session, "books")
print("ready", flush=True)
for line in sys.stdin:
    receipt = put(database, collection, Item(id=line.strip(), text=f"whale {line.strip()}"))
    print(receipt.seq, time.monotonic(), flush=True)
"""


def test_a_commit_is_searchable_in_another_process_in_a_moment(database: Database, collection: Collection) -> None:
    """From before the commit is acknowledged in one process to a hit in the other, which has searched before."""
    views = Views(database)
    delays = []
    with running(_WRITE, str(database.directory)) as writer:
        assert writer.line() == "ready"
        for number in range(40):
            writer.tell(f"d{number}")
            seq, committed = writer.line().split()
            with views.open("books") as view:
                assert view.seq == int(seq)
                found = view.fetch(view.matching({f"d{number}": 1}, 5).ids)
            assert [passage.document_id for passage in found] == [f"d{number}"]
            delays.append(time.monotonic() - float(committed))
    assert statistics.median(delays) < 0.2  # the last of them, on a busy machine, are not its doing


def test_waiting_for_a_seq_of_another_process(database: Database, collection: Collection) -> None:
    first = put(database, collection, Item(id="a", text="whale")).seq
    wait_for_seq(database, "books", first, 0.0)
    with running(_WRITE, str(database.directory)) as writer:
        assert writer.line() == "ready"
        timer = threading.Timer(0.2, writer.tell, ["b"])
        timer.start()
        wait_for_seq(database, "books", first + 1, 10.0)
        timer.join(60)
        with Views(database).open("books") as view:
            assert view.seq == first + 1


def test_a_seq_that_does_not_come_is_an_error_that_may_be_tried_again(
    database: Database, collection: Collection
) -> None:
    seq = put(database, collection, Item(id="a", text="whale")).seq
    began = time.monotonic()
    with pytest.raises(
        SeqNotReached, match=rf"is at seq {seq} and was waited for 0.2 s to come to {seq + 5}"
    ) as raised:
        wait_for_seq(database, "books", seq + 5, 0.2)
    assert 0.2 <= time.monotonic() - began < 10
    assert raised.value.retryable
    with pytest.raises(CollectionNotFound):
        wait_for_seq(database, "nowhere", 1, 5.0)


def test_waiting_ends_when_the_collection_is_deleted(database: Database, collection: Collection) -> None:
    timer = threading.Timer(0.1, delete_books, [database])
    timer.start()
    with pytest.raises(CollectionNotFound):
        wait_for_seq(database, "books", 10**9, 10.0)
    timer.join(60)


def test_nothing_of_a_directory_is_bound_to_its_place(
    database: Database, collection: Collection, tmp_path: Path
) -> None:
    """Stopped, moved, started again: no entry, lock or log of before is in the way."""
    put(database, collection, Item(id="a", text="whale"))
    with register(database.directory, kind="serve", version="0.1.0", schema=SCHEMA_VERSION):
        shutil.copytree(database.directory, tmp_path / "moved")
    moved = Database.open(tmp_path / "moved")
    assert processes(tmp_path / "moved") == []
    with register(tmp_path / "moved", kind="serve", version="9.0.0", schema=SCHEMA_VERSION):
        create(moved, "more")
    moved.close()


def test_every_commit_is_seen_whole_by_a_reader_in_another_process(database: Database, collection: Collection) -> None:
    """Two documents a commit: a view holds both or neither."""
    views = Views(database)
    with running(_PAIRS, str(database.directory)) as writer:
        seen = set()
        assert writer.line() == "ready"
        looks, deadline = 0, time.monotonic() + 60
        while looks < 60 or len(seen) < 4:
            assert time.monotonic() < deadline
            with views.open("books") as view:
                assert view.passage_count % 2 == 0
                assert len(view.matching({"whale": 1}, 1000).ids) == view.passage_count
                seen.add(view.passage_count)
            looks += 1
            time.sleep(0.01)


_PAIRS = """
import sys
from pathlib import Path
from store import Database, catalog
from tests.store.library import Item, put
database = Database.open(Path(sys.argv[1]))
with database.read() as session:
    collection = catalog.get_collection(session, "books")
print("ready", flush=True)
for number in range(100_000):
    put(database, collection, Item(id=f"a{number}", text="whale"), Item(id=f"b{number}", text="whale ship"))
"""


def test_an_entry_of_a_version_with_other_fields_is_read(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    with register(tmp_path, kind="serve", version="0.1.0", schema=SCHEMA_VERSION):
        [entry] = [path for path in (tmp_path / "processes").iterdir() if path.suffix != ".lock"]
        body = json.loads(entry.read_text("utf-8"))
        del body["host"], body["address"]
        entry.write_text(json.dumps(body | {"version": "0.9.0", "mood": "fine"}), "utf-8")
        [found] = processes(tmp_path)
        assert (found.version, found.pid, found.host, found.address) == ("0.9.0", os.getpid(), "unknown", None)
        with pytest.raises(DirectoryInUse, match=r"0\.9\.0"):
            register(tmp_path, kind="worker", version="0.1.0", schema=SCHEMA_VERSION)
