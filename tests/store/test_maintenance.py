"""One process owns the maintenance: who, when it dies, and what it does."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

import store.database
import store.maintenance
from core.errors import StorageBusy, StorageFull, StorageReadOnly
from core.records import Collection
from store import Database, Views, schema
from store.catalog import delete_collection
from store.directory import BACKUPS, MAINTENANCE_LOCK
from store.leftovers import leftovers
from store.maintenance import Maintenance, maintain_once, owner, owning
from store.vacuum import tidy
from tests.store.children import Child, running
from tests.store.library import Item, put
from tests.store.maintaining import OWN, QUICK
from tests.waiting import until


def test_there_is_one_owner_and_the_next_one_takes_over_when_it_is_killed(database: Database) -> None:
    with ExitStack() as stack:
        children: list[Child] = [stack.enter_context(running(OWN, str(database.directory), "")) for _ in range(3)]
        assert [child.line() for child in children] == ["ready"] * 3
        heard: list[Child] = []  # those that became the owner, in this order

        def listen(child: Child) -> None:
            if child.line() == "owns":
                heard.append(child)

        listeners = [threading.Thread(target=listen, args=(child,)) for child in children]
        for listener in listeners:
            listener.start()
        for number in range(3):
            until(lambda number=number: len(heard) == number + 1)  # type: ignore[misc]
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


def test_who_looks_at_the_lock_is_not_taken_for_its_owner(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database.directory / MAINTENANCE_LOCK
    path.touch()
    look = os.open(path, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)  # as store.lock.is_held does, for an instant
    waits: list[float] = []
    sleep, mine = time.sleep, threading.get_ident()

    def over(seconds: float) -> None:
        if threading.get_ident() == mine:
            waits.append(seconds)
            fcntl.flock(look, fcntl.LOCK_UN)
        else:  # of a server that other tests share
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", over)
    with owning(database.directory):
        pass
    os.close(look)
    assert len(waits) == 1


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
        until(lambda: len(tries) > 1)
        assert tries[1] - tries[0] >= 0.9  # it pauses
        until(lambda: "RuntimeError" in caplog.text)
    assert "segments failed, next try in 1 s: no room for a segment" in caplog.text


def test_what_keeps_failing_is_told_until_it_works(database: Database) -> None:
    broken = True

    def work(database: Database) -> bool:
        if broken:
            raise StorageReadOnly("no file can be made")
        return False

    with Maintenance(database, work, QUICK).running() as maintenance:
        until(lambda: bool(maintenance.failing))
        [found] = maintenance.failing
        assert (found.chore, found.reason) == ("segments", "no file can be made")
        assert found.chore in maintenance.chores
        until(lambda: maintenance.failing[0].seconds > found.seconds)
        broken = False
        until(lambda: not maintenance.failing)


def test_what_is_due_is_done_to_its_end_while_nobody_else_does(database: Database) -> None:
    left = [1, 2, 3]

    def work(database: Database) -> bool:
        return bool(left) and bool(left.pop())

    with owning(database.directory):
        maintain_once(database, work)
        assert left == [1, 2, 3]
    maintain_once(database, work)
    assert left == []


def test_what_is_due_once_is_what_the_owner_does(database: Database, collection: Collection) -> None:
    """A deletion whose process was killed before its rows were gone, and an unfinished backup; one chore fails."""
    put(database, collection, *(Item(id=str(number), text="a\nb") for number in range(5)))
    with database.write() as session:
        delete_collection(session, "books")
    left = database.directory / BACKUPS / ".x.unfinished-1"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    os.utime(left, (1, 1))

    def fail(database: Database) -> bool:
        raise StorageFull("no room for a segment")

    maintain_once(database, fail)
    assert _rows(database, schema.collection) == _rows(database, schema.document) == 0
    assert leftovers(database.directory) == []


def test_a_command_does_not_fail_by_what_can_be_done_later(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(database: Database) -> bool:
        raise error

    for error in (StorageFull("no room for a segment"), StorageBusy("somebody writes")):
        maintain_once(database, fail)
        assert f"maintenance: {error.message}" in caplog.text
    caplog.clear()
    with owning(database.directory):
        maintain_once(database, fail)
    assert not [record for record in caplog.records if record.thread == threading.get_ident()]


def test_tidying_up_says_whether_others_do_it_or_it_failed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with owning(database.directory):
        assert not tidy(database)
    assert tidy(database)

    def fail(*_: object, **__: object) -> bool:
        raise StorageBusy("somebody writes")

    monkeypatch.setattr("store.vacuum.remove_retired", fail)
    with pytest.raises(StorageBusy, match="somebody writes"):
        tidy(database)


def test_a_deleted_collection_is_removed_by_the_owner(database: Database, collection: Collection) -> None:
    """Where jobs and reindexes are served elsewhere, or nowhere."""
    put(database, collection, *(Item(id=str(number), text="a\nb") for number in range(5)))
    with database.write() as session:
        delete_collection(session, "books")
    with Maintenance(database, lambda database: False, QUICK).running():
        until(lambda: _rows(database, schema.collection) == 0)
    assert _rows(database, schema.document) == _rows(database, schema.embedding) == 0


def _rows(database: Database, table: sa.Table) -> int:
    with database.read() as session:
        return int(session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


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
