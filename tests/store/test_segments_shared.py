"""Segments that several threads and processes work with at once, and files that are lost, damaged or left behind."""

from __future__ import annotations

import errno
import logging
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import StorageFull
from core.records import Collection, IndexKind, Int32Array
from store import Database, View, Views, catalog, steps
from store.directory import SEGMENTS
from store.quantizer import quantizer
from store.segments import merging, sealing, upkeep
from store.segments.arrayfile import ArrayWriter, open_file
from store.segments.files import new_file
from store.segments.merging import Merge
from store.segments.postings import Postings
from store.segments.rows import SegmentRow
from store.segments.segment import Segment
from store.snapshot import load
from tests.store.library import Item, put
from tests.store.test_sealing import answers, check, check_files, files_of, plain, rows_of, stocked, table_of
from tests.store.test_search import random_item

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something happen once, the first time that a step is reached."""

    def plan(step: str, action: Callable[[], object]) -> None:
        def observe(reached: str) -> None:
            if reached == step:
                monkeypatch.setattr(steps, "observer", None)
                action()

        monkeypatch.setattr(steps, "observer", observe)

    return plan


def as_plain(view: View) -> None:
    """The view's answers are those of its own state, read anew into memory."""
    assert answers(view) == answers(View(view._session, load(view._session, view.collection)))


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
            as_plain(view)

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
from tests.store.test_segments_shared import as_plain
database = Database.open(Path(sys.argv[1]))
views, sealed, searches = Views(database), set(), 0
print("ready", flush=True)
while True:
    with views.open("books") as view:
        as_plain(view)
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

    def delete() -> None:
        with database.write() as session:
            catalog.delete_collection(session, "books")

    at_step(step, delete)
    assert not sealing.seal(database, collection.active.id)
    assert (table_of(database), files_of(database)) == ([], set())


def test_files_of_a_collection_that_was_deleted_go(database: Database, collection: Collection) -> None:
    views = stocked(database, collection)
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
    stocked(database, collection)
    first, second, third = (row.id for row in rows_of(database, collection))
    at_step("merge.files_durable", lambda: sealing.merge(database, collection.active.id, [second, third]))
    assert not sealing.merge(database, collection.active.id, [first, second])
    assert [row.rows for row in rows_of(database, collection)] == [4, 8]
    check(Views(database), database, collection)
    check_files(database)


def test_the_fence_lets_one_of_two_rebuilds_in(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    stocked(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    at_step("rebuild.read", lambda: sealing.rebuild(database, collection.active.id))
    assert not sealing.rebuild(database, collection.active.id)
    assert [row.rows for row in rows_of(database, collection)] == [4, 4, 4]
    check(Views(database), database, collection)
    check_files(database)


def test_what_goes_while_it_is_made_anew_stays_gone(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    views = stocked(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    at_step("rebuild.read", lambda: put(database, collection, Item(id="1-2", text="leg"), delete=["1-1", "2-2"]))
    assert sealing.rebuild(database, collection.active.id)
    assert [row.rows for row in rows_of(database, collection)] == [4, 4, 2]
    check(views, database, collection)


def test_a_file_that_is_lost_is_said_and_made_anew(
    database: Database, collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    views = stocked(database, collection)
    lost = rows_of(database, collection)[1]
    path = database.directory / SEGMENTS / lost.name
    path.unlink()
    with caplog.at_level(logging.WARNING), Views(database).open("books") as view:
        assert answers(view) == plain(database, collection)
        assert sorted(part.live_count for part in view._snapshot.parts) == [4, 4, 6]
    assert caplog.messages == [
        f"segment file {path}: is not there; its 4 passages are read from the database, and searched slower"
    ]
    check(views, database, collection)  # a process that had opened it goes on with it
    assert upkeep.maintain(database)
    assert f"segment file {lost.name} is made anew from the database" in caplog.text
    assert lost.id not in {row.id for row in rows_of(database, collection)}
    with views.open("books") as view:
        assert lost.id not in {part.sealed for part in view._snapshot.parts}
        assert len(view._snapshot.parts) == 4
    check(views, database, collection)
    check_files(database)


def test_a_reader_that_had_to_do_without_a_file_takes_the_new_one(database: Database, collection: Collection) -> None:
    stocked(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    views = Views(database)
    check(views, database, collection)
    assert upkeep.maintain(database)
    with views.open("books") as view:
        assert sorted(part.live_count for part in view._snapshot.parts) == [2, 4, 4, 4]
    check(views, database, collection)


def test_a_seal_beside_a_lost_file_is_not_searched_twice(database: Database, collection: Collection) -> None:
    """What the lost file held is read with the tail, and the tail is then sealed without it."""
    stocked(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    views = Views(database)
    check(views, database, collection)
    assert sealing.seal(database, collection.active.id)
    check(views, database, collection)
    assert upkeep.maintain(database)
    check(views, database, collection)


def place_of(array: str, path: Path, row: SegmentRow) -> int:
    """Where an array begins in the file of a segment."""
    return path.read_bytes().index(open_file(path, row.seal)[array].tobytes())


def flip(path: Path, place: int) -> None:
    """Another file with one bit changed, in the place of the old one, which may be mapped."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_damage_in_what_opening_reads_is_marked_and_mended(database: Database, collection: Collection) -> None:
    views = stocked(database, collection)
    damaged = rows_of(database, collection)[0]
    path = database.directory / SEGMENTS / damaged.name
    flip(path, place_of("terms.lengths", path, damaged))
    check(Views(database), database, collection)
    assert f"{damaged.name}.damaged" in files_of(database)
    assert upkeep.maintain(database)
    check(views, database, collection)
    check_files(database)
    while upkeep.maintain(database, grace_seconds=0):
        pass
    assert files_of(database) == {row.name for row in rows_of(database, collection)}


def test_damage_in_vectors_is_never_merged_into_a_sound_file(database: Database, collection: Collection) -> None:
    """Opening does not hash them; a merge does, or they would get a new hash that fits."""
    stocked(database, collection)
    rows = rows_of(database, collection)
    path = database.directory / SEGMENTS / rows[0].name
    flip(path, place_of("vectors", path, rows[0]) + 5)
    assert not sealing.merge(database, collection.active.id, [row.id for row in rows])
    assert [row.id for row in rows_of(database, collection)] == [row.id for row in rows]
    assert upkeep.maintain(database)
    assert sealing.merge(database, collection.active.id, [row.id for row in rows_of(database, collection)])
    check(Views(database), database, collection)
    check_files(database)


def test_compacting_mends_what_is_damaged(database: Database, collection: Collection) -> None:
    views = stocked(database, collection)
    first, second, _ = (database.directory / SEGMENTS / row.name for row in rows_of(database, collection))
    flip(first, place_of("vectors", first, rows_of(database, collection)[0]))
    second.unlink()
    assert upkeep.compact(database, collection)
    assert [row.rows for row in rows_of(database, collection)] == [14]
    check(views, database, collection)
    check_files(database)
    assert not upkeep.compact(database, collection)


def test_compacting_ends_while_others_write(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(database, collection)
    numbers = iter(range(1_000))

    def write(step: str) -> None:
        if step == "seal.committed":  # somebody commits after every seal
            put(database, collection, Item(id=f"more-{next(numbers)}", text="leg"))

    monkeypatch.setattr(steps, "observer", write)
    assert upkeep.compact(database, collection)
    assert [row.rows for row in rows_of(database, collection)] == [14]
    assert next(numbers) == 1


def test_a_view_keeps_its_files_when_they_are_removed(database: Database, collection: Collection) -> None:
    views = stocked(database, collection)
    with views.open("books") as view:
        before = answers(view)
        old = files_of(database)
        put(database, collection, delete=["0-0"])
        assert upkeep.compact(database, collection)
        assert upkeep.remove_retired(database, grace_seconds=0)
        assert not files_of(database) & old
        assert answers(view) == before
    check(views, database, collection)


def test_retired_files_stay_for_the_grace(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(database, collection)
    upkeep.compact(database, collection)
    now = time.time()
    for clock in (now + 50, now - 50):
        monkeypatch.setattr("store.segments.upkeep.time.time", lambda clock=clock: clock)
        assert not upkeep.remove_retired(database, grace_seconds=60)
        assert len(table_of(database)) == len(files_of(database)) == 5
    # A clock that was set back by a day does not keep them for a day.
    monkeypatch.setattr("store.segments.upkeep.time.time", lambda: now - 86_400)
    assert upkeep.remove_retired(database, grace_seconds=60)
    assert len(table_of(database)) == len(files_of(database)) == 1


def test_what_a_killed_process_left_is_removed(database: Database, collection: Collection) -> None:
    views = stocked(database, collection)
    directory = database.directory / SEGMENTS
    left = ["0123.segment", "4567.segment.unfinished", "89ab.segment.damaged"]
    for name in left:
        (directory / name).write_bytes(b"part of it")
    assert not upkeep.remove_retired(database), "it may be at work still"
    for name, age in zip(left, (1000, 1000, -1000), strict=True):
        os.utime(directory / name, (time.time() - age,) * 2)
    assert upkeep.maintain(database)
    assert files_of(database) == {row.name for row in rows_of(database, collection)}
    check(views, database, collection)


def test_a_full_disk_stops_a_seal_and_nothing_else(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = stocked(database, collection)
    before, rows = files_of(database), rows_of(database, collection)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ArrayWriter, "finish", full)
        with pytest.raises(StorageFull, match="no room to write"):
            sealing.seal(database, collection.active.id)
        with pytest.raises(StorageFull):
            sealing.merge(database, collection.active.id, [row.id for row in rows])
    assert (files_of(database), rows_of(database, collection)) == (before, rows)
    check(views, database, collection)
    assert sealing.seal(database, collection.active.id)
    check(views, database, collection)


def test_a_file_that_is_gone_before_it_is_let_in(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    """As when a clock jumps ahead, and somebody takes it for a leftover."""
    put(database, collection, Item(id="a", text="whale"))
    at_step("seal.files_durable", lambda: upkeep.remove_retired(database, grace_seconds=0))
    assert not sealing.seal(database, collection.active.id)
    assert table_of(database) == []
    check(Views(database), database, collection)


def test_a_directory_that_cannot_be_marked_is_searched(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stocked(database, collection)
    row = rows_of(database, collection)[0]
    flip(database.directory / SEGMENTS / row.name, 20)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    check(Views(database), database, collection)
    assert f"segment file {row.name} cannot be marked as damaged: Read-only file system" in caplog.text


def many(rows: int, dimension: int, begin: int, chance: np.random.Generator) -> Segment:
    held = np.repeat(np.arange(rows, dtype=np.int32), 3)
    terms = (held + np.tile(np.array([0, 7, 19], np.int32), rows)) % 50
    postings = Postings.build(terms, held, np.ones(len(held), np.float32), row_count=rows)
    ids = np.arange(begin, begin + rows)
    vectors = chance.normal(size=(rows, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Segment.build(ids, ids, vectors, postings, postings)


@pytest.fixture
def four(tmp_path: Path) -> list[Segment]:
    """Segments over files, of 5,000 passages each."""
    chance, segments = np.random.default_rng(0), []
    for number in range(4):
        segment = many(5_000, 256, 1 + number * 5_000, chance)
        with new_file(tmp_path, Merge([(segment, np.ones(5_000, np.bool_))]), IndexKind.EXACT) as (name, seal):
            arrays = open_file(tmp_path / SEGMENTS / name, seal)
        segments.append(
            Segment.build(segment.ids, segment.documents, arrays["vectors"], segment.postings, segment.learned)
        )
    return segments


def test_a_merge_does_not_hold_the_vectors(
    four: list[Segment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_BLOCK_ROWS", 256)
    vector_bytes = sum(segment.vectors.nbytes for segment in four)
    tracemalloc.start()
    with new_file(tmp_path, Merge([(segment, segment.ids % 100 != 0) for segment in four]), IndexKind.EXACT):
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < vector_bytes / 3


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_postings_are_merged_alike_in_blocks_of_any_size(
    four: list[Segment], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(merging, "_BLOCK_POSTINGS", block)
    chance = np.random.default_rng(block)
    parts = [(segment, chance.random(len(segment.ids)) < 0.7) for segment in four[:2]]
    merged = merging.merged(parts)
    expected: dict[tuple[int, int], float] = {}
    for segment, live in parts:
        held = segment.postings
        for term, row, value in zip(_term_of_each(held), held.rows, held.values, strict=True):
            if live[row]:
                expected[int(term), int(segment.ids[row])] = float(value)
    held = merged.postings
    places = list(zip(_term_of_each(held).tolist(), merged.ids[held.rows].tolist(), strict=True))
    assert places == sorted(expected)
    assert dict(zip(places, held.values.tolist(), strict=True)) == expected
    assert held.lengths.tolist() == [3.0] * len(merged.ids)


@pytest.mark.parametrize("kind", list(IndexKind))
def test_codes_are_stored_with_the_segment_and_copied_by_a_merge(tmp_path: Path, kind: IndexKind) -> None:
    chance = np.random.default_rng(1)
    parts = []
    for number in range(2):
        segment = many(1_200, 16, 1 + number * 1_200, chance)
        parts.append((segment, chance.random(1_200) < 0.9))
    with new_file(tmp_path, Merge(parts), kind) as (name, seal):
        arrays = open_file(tmp_path / SEGMENTS / name, seal)
    stored = {part for part in arrays if part.startswith("scan.")}
    assert ("scan.codes" in stored) == (kind is not IndexKind.EXACT)
    assert ("scan.graph" in stored) == (kind is IndexKind.HNSW)
    if kind is not IndexKind.EXACT:
        assert arrays["scan.codes"].tolist() == quantizer(16).encode(arrays["vectors"]).tolist()


def _term_of_each(postings: Postings) -> Int32Array:
    """(postings,) the term of every posting."""
    return np.repeat(postings.terms, np.diff(postings.offsets))
