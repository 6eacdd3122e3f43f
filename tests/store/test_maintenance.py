"""One process owns the maintenance: who, when it dies, and what it does."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

import store.database
import store.maintenance
from core.errors import StorageBusy, StorageFull
from core.records import Collection
from store import Database, Views, catalog, schema
from store.copying import check_structure
from store.leftovers import leftovers, remove_leftovers, remove_unfinished
from store.maintenance import Maintenance, MaintenancePolicy, maintain_once, owner, owning
from tests.store.children import Child, running
from tests.store.library import Item, put

QUICK = MaintenancePolicy(poll_seconds=0.02, takeover_seconds=0.05, clean_seconds=0.1, warn_seconds=0.2)


def until(done: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds until `done`."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


_OWN = """
import os, signal, sys, time
from pathlib import Path
import store.steps
from store import Database, catalog
from store.maintenance import Maintenance
from tests.store.library import Item, put
database = Database.open(Path(sys.argv[1]))
fatal = sys.argv[2]
def observe(step):
    if step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
store.steps.observer = observe
maintenance = Maintenance(database)
with maintenance.running():
    print("ready", flush=True)
    while not maintenance.owns:
        time.sleep(0.01)
    print("owns", flush=True)
    sys.stdin.read()
"""


def test_there_is_one_owner_and_the_next_one_takes_over_when_it_is_killed(database: Database) -> None:
    with ExitStack() as stack:
        children: list[Child] = [stack.enter_context(running(_OWN, str(database.directory), "")) for _ in range(3)]
        assert [child.line() for child in children] == ["ready"] * 3
        heard: list[Child] = []  # those that became the owner, in this order

        def listen(child: Child) -> None:
            if child.line() == "owns":
                heard.append(child)

        listeners = [threading.Thread(target=listen, args=(child,)) for child in children]
        for listener in listeners:
            listener.start()
        for number in range(3):
            took = until(lambda number=number: len(heard) == number + 1)  # type: ignore[misc]
            assert took < 3
            time.sleep(0.3)
            assert len(heard) == number + 1
            assert (owner(database.directory) or "").split()[0] == str(heard[-1].process.pid)
            with pytest.raises(StorageBusy, match=f"maintained by process {heard[-1].process.pid}"), _owning(database):
                pass
            heard[-1].kill()
        for listener in listeners:
            listener.join(60)
    with owning(database.directory):
        assert (owner(database.directory) or "").split()[0] == str(os.getpid())


def _owning(database: Database) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(owning(database.directory))
    return stack


@pytest.mark.parametrize("step", ["checkpoint.begun", "checkpoint.copied", "checkpoint.done"])
def test_an_owner_that_is_killed_while_it_checkpoints_leaves_everything(
    database: Database, collection: Collection, step: str
) -> None:
    with owning(database.directory):  # nobody folds it in meanwhile
        put(database, collection, *(Item(id=str(i), text=f"words {i} " * 2500) for i in range(1000)))
    assert database.log_bytes() >= store.database.CHECKPOINT_BYTES
    with running(_OWN, str(database.directory), step) as child:
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
    monkeypatch.setattr(
        Database, "checkpoint", lambda self, real=Database.checkpoint: (called.append(_thread()), real(self))
    )
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
        owned = threading.Timer(0.15, database.checkpoint)
        owned.start()
        assert took("c") < 0.4
        owned.join(60)
    assert took("d") < 0.4
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


def test_one_thing_that_fails_keeps_no_other_from_being_done(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (store.database, store.maintenance):
        monkeypatch.setattr(module, "CHECKPOINT_BYTES", 20_000)
    tries = []

    def fail(database: Database) -> bool:
        tries.append(time.monotonic())
        raise StorageFull("no room for a segment") if len(tries) % 2 else RuntimeError("a fault")

    with caplog.at_level(logging.WARNING), Maintenance(database, fail, QUICK).running():
        until(lambda: len(tries) == 1)
        put(database, collection, Item(id="a", text="words " * 20_000))
        until(lambda: database.log_bytes() < 20_000)
        assert len(tries) == 1  # it pauses
        until(lambda: len(tries) == 2)
        assert tries[1] - tries[0] >= 0.9
        until(lambda: "RuntimeError" in caplog.text)
    assert "segments failed, next try in 1 s: no room for a segment" in caplog.text


def test_what_is_due_is_done_to_its_end_while_nobody_else_does(database: Database) -> None:
    left = [1, 2, 3]

    def work(database: Database) -> bool:
        return bool(left) and bool(left.pop())

    with owning(database.directory):
        assert not maintain_once(database, work)
        assert left == [1, 2, 3]
    assert maintain_once(database, work)
    assert left == []


def test_a_command_does_not_fail_by_what_can_be_done_later(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(database: Database) -> bool:
        raise StorageFull("no room for a segment")

    assert maintain_once(database, fail)
    assert "no room for a segment" in caplog.text


def test_segments_are_sealed_by_the_owner(database: Database, collection: Collection) -> None:
    put(
        database,
        collection,
        *(Item(id=str(i), text="\n".join(f"words {i} {j}" for j in range(60))) for i in range(100)),
    )
    with Maintenance(database, policy=QUICK).running():
        until(lambda: any((database.directory / "segments").glob("*.segment")), 20)
    with Views(database).open("books") as view:
        assert view.passage_count == 6000


def test_it_stops_at_once(database: Database) -> None:
    began = time.monotonic()
    with Maintenance(database).running() as maintenance:
        until(lambda: maintenance.owns)
        with Maintenance(database).running() as standby:
            time.sleep(0.1)
            assert not standby.owns
    assert time.monotonic() - began < 2
    with owning(database.directory):
        pass


def make_leftovers(directory: Path) -> dict[str, Path]:
    made = {
        "backup": directory / "backups" / ".schema-0003-x.unfinished-abc" / "salience.db",
        "projection": directory / "projections" / "m.safetensors.77.tmp",
        "pin": directory / "remote-models" / "pins.json123.tmp",
        "restore": directory / ".restoring" / "salience.db",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    (directory / "backups" / "schema-0003-y").mkdir()
    (directory / "backups" / "schema-0003-y" / "salience.db").touch()
    (directory / "projections" / "m.safetensors").touch()
    return made


def age(directory: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (then, then))


def test_leftovers_of_killed_processes_go_when_they_are_old(database: Database) -> None:
    directory = database.directory
    made = make_leftovers(directory)
    found = leftovers(directory)
    assert {leftover.bytes for leftover in found} == {100}
    assert len(found) == 4
    with Maintenance(database, lambda database: False, QUICK).running():
        time.sleep(0.4)
        assert all(path.exists() for path in made.values())
        age(directory, 25)
        made["pin"].write_bytes(b"still at work")
        until(lambda: len(leftovers(directory)) == 1)
    assert made["pin"].exists()
    assert (directory / "backups" / "schema-0003-y" / "salience.db").exists()
    assert (directory / "projections" / "m.safetensors").exists()
    assert not (directory / ".restoring").exists()


def test_a_clock_that_was_set_back_removes_nothing(database: Database) -> None:
    made = make_leftovers(database.directory)
    age(database.directory, -48)
    assert [leftover.age_seconds for leftover in leftovers(database.directory)] == [0.0] * 4
    assert remove_leftovers(database.directory) == []
    assert all(path.exists() for path in made.values())


def test_unfinished_backups_elsewhere_go_with_the_next_backup(tmp_path: Path) -> None:
    unfinished = tmp_path / ".monday.unfinished-x1"
    (unfinished / "projections").mkdir(parents=True)
    (unfinished / "salience.db").touch()
    (tmp_path / "monday").mkdir()
    assert remove_unfinished(tmp_path) == []
    age(tmp_path, 30)
    assert remove_unfinished(tmp_path) == [unfinished]
    assert (tmp_path / "monday").exists()


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
