"""Segments that several threads and processes work with at once."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.records import Collection
from store import Database, Views, catalog, failpoints
from store.directory import SEGMENTS
from store.segments import files, sealing, upkeep
from tests.store.library import Item, delete_books, put, random_item
from tests.store.sealed import answers, check, check_files, check_fresh, files_of, rows_of, segmented, table_of

ROOT = Path(__file__).resolve().parents[2]


def test_searching_and_writing_while_segments_come_and_go(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SEAL_ROWS", 4)
    views, done, failures = Views(database), threading.Event(), []
    put(database, collection, Item(id="0", text="whale"))

    def guarded(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except BaseException as error:
                failures.append(error)
                raise

        return run

    seen_sealed: set[int | None] = set()

    def search() -> None:
        with views.open("books") as view:
            seen_sealed.update(part.sealed for part in view._snapshot.parts)
            check_fresh(view)

    # No grace: now and then a file is gone before it is opened.
    works = (search, search, lambda: upkeep.maintain(database, grace_seconds=0))
    threads = [threading.Thread(target=guarded(work)) for work in works]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    for number in range(1_000):
        if number >= 50 and len(seen_sealed) > 8:
            break
        gone = [str(chance.randrange(30)) for _ in range(chance.randint(0, 3))]
        new = {id_: random_item(chance, id_) for id_ in (str(chance.randrange(30)) for _ in range(4))}
        put(database, collection, *new.values(), delete=gone)
    done.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(seen_sealed) > 8
    while upkeep.maintain(database, grace_seconds=0):
        pass
    check(views, database, collection)
    check_files(database)


_READER = """
import sys, random
from pathlib import Path
from store import Database, Views
from tests.store.sealed import check_fresh
database = Database.open(Path(sys.argv[1]))
views, sealed, searches = Views(database), set(), 0
print("ready", flush=True)
while True:
    with views.open("books") as view:
        check_fresh(view)
        sealed.update(part.sealed for part in view._snapshot.parts)
        searches += 1
        if view.fetch(view.matching({"last": 1.0}, 1).ids):
            break
print(searches, len(sealed), flush=True)
"""


def test_another_process_follows(database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SEAL_ROWS", 4)
    put(database, collection, Item(id="0", text="whale"))
    command = [sys.executable, "-W", "error", "-c", _READER, str(database.directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        chance = random.Random(7)
        for number in range(40):
            put(database, collection, random_item(chance, str(number % 15)), random_item(chance, str(100 + number)))
            upkeep.maintain(database, grace_seconds=0)
        upkeep.compact(database, collection)
        upkeep.remove_retired(database, grace_seconds=0)
        put(database, collection, Item(id="last", text="last"))
        out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    searches, segments = map(int, out.split())
    assert searches > 3
    assert segments > 2


@pytest.mark.parametrize("step", ["seal.read", "segment.written", "segment.durable", "seal.files_durable"])
def test_a_collection_that_is_deleted_while_it_is_sealed(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None], step: str
) -> None:
    put(database, collection, Item(id="a", text="whale"))

    at_step(step, lambda: delete_books(database))
    assert not sealing.seal(database, collection.active.id)
    assert (table_of(database), files_of(database)) == ([], set())


def test_files_of_a_collection_that_was_deleted_go(database: Database, collection: Collection) -> None:
    views = segmented(database, collection)
    assert len(files_of(database)) == 3
    with views.open("books") as view:
        before = answers(view)
        with database.write() as session:
            catalog.delete_collection(session, "books")
        assert not upkeep.maintain(database)
        assert len(files_of(database)) == 3, "somebody may be about to open them"
        assert upkeep.maintain(database, grace_seconds=0)
        assert files_of(database) == set()
        assert answers(view) == before


def test_the_fence_lets_one_of_two_seals_in(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    put(database, collection, Item(id="a", text="whale\nship"))
    at_step("segment.durable", lambda: sealing.seal(database, collection.active.id))
    assert not sealing.seal(database, collection.active.id)
    (row,) = rows_of(database, collection)
    assert files_of(database) == {row.name}
    check(Views(database), database, collection)


def test_the_fence_lets_one_of_two_merges_in(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    segmented(database, collection)
    first, second, third = (row.id for row in rows_of(database, collection))
    at_step("merge.files_durable", lambda: sealing.merge(database, collection.active.id, [second, third]))
    assert not sealing.merge(database, collection.active.id, [first, second])
    assert [row.rows for row in rows_of(database, collection)] == [4, 8]
    check(Views(database), database, collection)
    check_files(database)


def test_the_fence_lets_one_of_two_rebuilds_in(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    segmented(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    at_step("rebuild.read", lambda: sealing.rebuild(database, collection.active.id))
    assert not sealing.rebuild(database, collection.active.id)
    assert [row.rows for row in rows_of(database, collection)] == [4, 4, 4]
    check(Views(database), database, collection)
    check_files(database)


def test_what_goes_while_it_is_made_anew_stays_gone(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    views = segmented(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    at_step("rebuild.read", lambda: put(database, collection, Item(id="1-2", text="leg"), delete=["1-1", "2-2"]))
    assert sealing.rebuild(database, collection.active.id)
    assert [row.rows for row in rows_of(database, collection)] == [4, 4, 2]
    check(views, database, collection)


def test_compacting_ends_while_others_write(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented(database, collection)
    numbers = iter(range(1_000))

    def write(step: str) -> None:
        if step == "seal.committed":  # somebody commits after every seal
            put(database, collection, Item(id=f"more-{next(numbers)}", text="leg"))

    monkeypatch.setattr(failpoints, "observer", write)
    assert upkeep.compact(database, collection)
    assert [row.rows for row in rows_of(database, collection)] == [14]
    assert next(numbers) == 1


def test_a_view_keeps_its_files_when_they_are_removed(database: Database, collection: Collection) -> None:
    views = segmented(database, collection)
    with views.open("books") as view:
        before = answers(view)
        old = files_of(database)
        put(database, collection, delete=["0-0"])
        assert upkeep.compact(database, collection)
        assert upkeep.remove_retired(database, grace_seconds=0)
        assert not files_of(database) & old
        assert answers(view) == before
    check(views, database, collection)


def mapped(database: Database) -> set[str]:
    """Names of the segments' files that this process holds on to, there or not."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {
        match[1] for line in lines if (match := re.search(rf"{database.directory}/{SEGMENTS}/(\w+\.segment)", line))
    }


def test_the_files_of_what_is_gone_are_let_go_of(database: Database, collection: Collection) -> None:
    views = segmented(database, collection)
    old = files_of(database)
    assert mapped(database) == old
    views.let_go(outdated=True)
    assert mapped(database) == old, "all of them are searched"

    assert upkeep.compact(database, collection)
    views.let_go()
    assert mapped(database) == old, "a search is to renew it"
    views.let_go(outdated=True)
    assert mapped(database) == set()

    check(views, database, collection)
    with views.open("books") as view:
        before = answers(view)
        with database.write() as session:
            catalog.delete_collection(session, "books")
        views.let_go()
        assert answers(view) == before
    del view
    assert mapped(database) == set()


def test_retired_files_stay_for_the_grace(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented(database, collection)
    upkeep.compact(database, collection)
    now = time.time()

    def move(seconds: float) -> None:
        for module in (files, upkeep):
            clock = SimpleNamespace(time=lambda: now + seconds, monotonic=time.monotonic)
            monkeypatch.setattr(module, "time", clock)

    for seconds in (50, -50):
        move(seconds)
        assert not upkeep.remove_retired(database, grace_seconds=60)
        assert len(table_of(database)) == len(files_of(database)) == 5
    # A clock that was set back by a day does not keep them for a day.
    move(-86_400)
    assert upkeep.remove_retired(database, grace_seconds=60)
    assert len(table_of(database)) == len(files_of(database)) == 1
