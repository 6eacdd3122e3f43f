"""Segment files that are lost, damaged, or left behind by what was killed: said, made anew, or removed."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.errors import StorageError, StorageFull
from core.records import Collection
from store import Database, Views
from store.arrayfile import ArrayWriter, open_file
from store.directory import SEGMENTS
from store.segments import sealing, upkeep
from store.segments.files import open_segment
from store.segments.rows import SegmentRow
from store.segments.segment import Segment
from tests.store.library import Item, put
from tests.store.sealed import answers, check, check_files, files_of, plain, rows_of, segmented, table_of


def test_a_file_that_is_lost_is_said_and_made_anew(
    database: Database, collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    views = segmented(database, collection)
    lost = rows_of(database, collection)[1]
    path = database.directory / SEGMENTS / lost.name
    path.unlink()
    with caplog.at_level(logging.WARNING), Views(database).open("books") as view:
        assert answers(view) == plain(database, collection)
        assert sorted(part.live_count for part in view._snapshot.parts) == [4, 4, 6]
    assert [record.getMessage() for record in caplog.records if record.thread == threading.get_ident()] == [
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
    segmented(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    views = Views(database)
    check(views, database, collection)
    assert upkeep.maintain(database)
    with views.open("books") as view:
        assert sorted(part.live_count for part in view._snapshot.parts) == [2, 4, 4, 4]
    check(views, database, collection)


def test_a_seal_beside_a_lost_file_is_not_searched_twice(database: Database, collection: Collection) -> None:
    """What the lost file held is read with the tail, and the tail is then sealed without it."""
    segmented(database, collection)
    (database.directory / SEGMENTS / rows_of(database, collection)[1].name).unlink()
    views = Views(database)
    check(views, database, collection)
    assert sealing.seal(database, collection.active.id)
    check(views, database, collection)
    assert upkeep.maintain(database)
    check(views, database, collection)


def test_a_file_that_cannot_be_read_now_is_tried_again_after_a_while(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented(database, collection)
    views, tried, clock, failing = Views(database), list[int](), [100.0], [True]
    unread = rows_of(database, collection)[1]

    def open_one(data_dir: Path, row: SegmentRow) -> Segment:
        if row == unread:
            tried.append(row.id)
            if failing[0]:
                raise StorageError(f"segment file {row.name}: {os.strerror(errno.EMFILE)}")
        return open_segment(data_dir, row)

    def sealed() -> int:
        with views.open("books") as view:
            assert answers(view) == expected
            return sum(part.sealed is not None for part in view._snapshot.parts)

    expected = plain(database, collection)
    monkeypatch.setattr("store.segments.files.open_segment", open_one)
    monkeypatch.setattr("store.segments.files.time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    assert [sealed(), sealed(), len(tried)] == [2, 2, 1], "not at every search"
    with views.open("books") as view:
        before = view._snapshot
    clock[0] += 10
    with views.open("books") as view:
        assert view._snapshot is before, "nothing is read anew where it fails again"
    assert [sealed(), len(tried)] == [2, 2]
    failing[0] = False
    clock[0] += 10
    assert [sealed(), sealed(), len(tried)] == [3, 3, 3]
    assert f"{unread.name}.damaged" not in files_of(database)


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
    views = segmented(database, collection)
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
    segmented(database, collection)
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
    views = segmented(database, collection)
    first, second, _ = (database.directory / SEGMENTS / row.name for row in rows_of(database, collection))
    flip(first, place_of("vectors", first, rows_of(database, collection)[0]))
    second.unlink()
    assert upkeep.compact(database, collection)
    assert [row.rows for row in rows_of(database, collection)] == [14]
    check(views, database, collection)
    check_files(database)
    assert not upkeep.compact(database, collection)


def test_what_a_killed_process_left_is_removed(database: Database, collection: Collection) -> None:
    views = segmented(database, collection)
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
    views = segmented(database, collection)
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


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_behind_the_commit_leaves_the_file(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    """As by Ctrl-C in `salience compact`, whose writes fold the log in where nobody maintains the directory."""
    segmented(database, collection)
    at_step("write.committed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        upkeep.compact(database, collection)
    check_files(database)
    check(Views(database), database, collection)


def test_what_an_interrupt_leaves_before_the_commit_goes_after_a_grace(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    segmented(database, collection)
    before = rows_of(database, collection)
    at_step("write.complete", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sealing.merge(database, collection.active.id, [row.id for row in before])
    assert rows_of(database, collection) == before
    assert upkeep.remove_retired(database, grace_seconds=0)
    assert files_of(database) == {row.name for row in before}


@pytest.mark.parametrize("step", ["segment.renamed", "write.complete"])
def test_what_fails_leaves_no_file(
    database: Database, collection: Collection, at_step: Callable[[str, Callable[[], object]], None], step: str
) -> None:
    """Or a disk that is full would be filled up by trying again."""
    segmented(database, collection)
    before, rows = files_of(database), rows_of(database, collection)

    def full() -> None:
        raise StorageFull

    at_step(step, full)
    with pytest.raises(StorageFull):
        sealing.merge(database, collection.active.id, [row.id for row in rows])
    assert (files_of(database), rows_of(database, collection)) == (before, rows)


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
    segmented(database, collection)
    row = rows_of(database, collection)[0]
    flip(database.directory / SEGMENTS / row.name, 20)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    check(Views(database), database, collection)
    assert f"segment file {row.name} cannot be marked as damaged: Read-only file system" in caplog.text
