"""The log is folded into the database: by the owner of the maintenance, by writers without one, past readers."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

import pytest
import sqlalchemy as sa

import store.database
import store.maintenance
from core.records import Collection
from store import Database, Views, catalog, schema
from store.copying import check_structure
from store.maintenance import Maintenance, maintain_once, owning
from tests.store.children import running
from tests.store.library import Item, put
from tests.store.maintaining import OWN, QUICK
from tests.waiting import until


@pytest.mark.parametrize("step", ["checkpoint.begun", "checkpoint.copied", "checkpoint.done"])
def test_an_owner_that_is_killed_while_it_checkpoints_leaves_everything(
    database: Database, collection: Collection, step: str
) -> None:
    with owning(database.directory):  # nobody folds it in meanwhile
        put(database, collection, *(Item(id=str(i), text=f"words {i} " * 2500) for i in range(1000)))
    assert database.log_bytes() >= store.database.CHECKPOINT_BYTES
    with running(OWN, str(database.directory), step) as child:
        child.process.wait(30)
    put(database, collection, Item(id="after", text="words"))
    with Maintenance(database, lambda database: False, QUICK).running():
        until(lambda: database.log_bytes() < store.database.CHECKPOINT_BYTES)
    put(database, collection, Item(id="later", text="words"))
    check_structure(database.directory)
    with Views(database).open("books") as view:
        assert view.passage_count == 1002


def test_the_owner_folds_the_log_in_while_others_write(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.database, "CHECKPOINT_BYTES", 200_000)
    monkeypatch.setattr(store.maintenance, "CHECKPOINT_BYTES", 200_000)
    called: list[str] = []
    monkeypatch.setattr(database, "checkpoint", lambda real=database.checkpoint: (called.append(_thread()), real()))
    with Maintenance(database, lambda database: False, QUICK).running() as maintenance:
        until(lambda: maintenance.owns)
        largest = 0
        for number in range(150):
            put(database, collection, Item(id=str(number), text=f"words {number} " * 300))
            largest = max(largest, database.log_bytes())
    assert largest < 20 * 200_000
    assert len(called) > 2
    assert set(called) == {"checkpoints"}


@pytest.mark.parametrize("alone", [False, True], ids=["owner", "once"])
def test_the_log_is_folded_in_while_a_merge_takes_its_time(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    for module in (store.database, store.maintenance):
        monkeypatch.setattr(module, "CHECKPOINT_BYTES", 50_000)
    at_work, go_on = threading.Event(), threading.Event()

    def merge(database: Database) -> bool:
        at_work.set()
        assert go_on.wait(20)
        return False

    maintenance = Maintenance(database, merge, QUICK)
    work = (lambda: maintain_once(database, merge)) if alone else maintenance.run
    thread = threading.Thread(target=work)
    thread.start()
    assert at_work.wait(20)
    for _ in range(3):
        put(database, collection, Item(id="a", text="words " * 20_000))
        until(lambda: database.log_bytes() < 50_000)
    assert thread.is_alive()
    maintenance.stop()
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()


def _thread() -> str:
    return threading.current_thread().name


def test_without_an_owner_writers_fold_it_in(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.database, "CHECKPOINT_BYTES", 50_000)
    for number in range(30):
        put(database, collection, Item(id=str(number), text=f"words {number} " * 300))
        assert database.log_bytes() < 50_000
    with owning(database.directory):
        for number in range(30):
            put(database, collection, Item(id=f"{number}b", text=f"words {number} " * 300))
        assert database.log_bytes() > 100_000


def test_over_its_limit_writers_wait_a_little_for_the_log(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.database, "CHECKPOINT_BYTES", 50_000)
    monkeypatch.setattr(store.database, "LOG_LIMIT_BYTES", 100_000)
    monkeypatch.setattr(store.database, "LOG_WAIT_SECONDS", 0.4)
    put(database, collection, Item(id="0", text="words"))

    def took(id: str) -> float:
        began = time.monotonic()
        put(database, collection, Item(id=id, text="words " * 20_000))
        return time.monotonic() - began

    with owning(database.directory):  # an owner that does nothing
        took("a")
        assert database.log_bytes() >= 100_000
        assert took("b") >= 0.4  # and then it goes on: a reader may hold the log for an hour
        monkeypatch.setattr(store.database, "LOG_WAIT_SECONDS", 30.0)
        owned = threading.Timer(0.15, database.checkpoint)
        owned.start()
        assert took("c") < 15
        owned.join(60)
    assert took("d") < 15
    assert database.log_bytes() < 100_000


def test_readers_that_hold_the_log_are_reported(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (store.database, store.maintenance):
        monkeypatch.setattr(module, "CHECKPOINT_BYTES", 20_000)
        monkeypatch.setattr(module, "LOG_LIMIT_BYTES", 60_000)
    monkeypatch.setattr(store.database, "LOG_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(store.database, "LONG_READ_SECONDS", 0.1)
    with caplog.at_level(logging.WARNING), Maintenance(database, lambda database: False, QUICK).running():
        with database.read() as session:
            session.execute(sa.select(schema.collection)).all()
            put(database, collection, Item(id="a", text="words " * 20_000))
            until(lambda: "kept a read transaction open" in caplog.text)
            assert database.log_bytes() >= 60_000
        assert "a read transaction was open for" in caplog.text
        until(lambda: database.log_bytes() < 20_000)


_READ_ON = """
import sys
from pathlib import Path
from store import Database, catalog
database = Database.open(Path(sys.argv[1]))
with database.read() as session:
    catalog.list_collections(session)
    print("reading", flush=True)
    sys.stdin.readline()
print("done", flush=True)
sys.stdin.read()
"""


def test_a_reader_in_another_process_keeps_its_state_through_checkpoints(
    database: Database, collection: Collection
) -> None:
    with running(_READ_ON, str(database.directory)) as reader:
        assert reader.line() == "reading"
        for number in range(5):
            put(database, collection, Item(id=str(number), text="words " * 2000))
            with owning(database.directory):
                database.checkpoint()
        assert database.log_bytes() > 0
        reader.tell("end")
        assert reader.line() == "done"
        with owning(database.directory):
            database.checkpoint()
    assert database.log_bytes() == 0
    with sqlite3.connect(database.directory / "salience.db") as plain:
        assert plain.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert plain.execute("SELECT COUNT(*) FROM document").fetchone() == (5,)
    plain.close()
    with database.read() as session:
        assert catalog.counts(session, collection.id).documents == 5
