"""Sealed, merged, compacted, made anew, with a tail and with gaps: every search is that of the plain passages."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import HitNotFound
from core.records import Collection, Int64Array, SparseScoring
from store import Database, ReadSession, Views, catalog, changes
from store.directory import SEGMENTS
from store.segments import files, sealing, upkeep
from store.segments.rows import SegmentRow, active_segments
from tests.store.learned_library import create_learned, put_learned
from tests.store.library import Item, create, put, random_item
from tests.store.sealed import answers, check, check_files, files_of, plain, rows_of, segmented, table_of

STEPS = ("put", "put", "delete", "touch", "seal", "merge", "compact", "maintain", "lose", "damage", "search", "reopen")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=30))
def test_any_history_is_searched_as_the_plain_passages(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "SEAL_ROWS", 6)
        patch.setattr(sealing, "_PIECE_ROWS", 9)
        History(tmp_path_factory.mktemp("history"), random.Random(seed)).run(steps)


class History:
    """What happens to a collection with learned weights."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.chance = chance
        self.database = Database.open(directory / "data")
        self.collection = create_learned(self.database, scoring=SparseScoring.BOTH)
        self.views = Views(self.database)
        self.items: dict[str, Item] = {}

    def run(self, steps: list[str]) -> None:
        for step in steps:
            getattr(self, step)()
        check(self.views, self.database, self.collection)
        while upkeep.maintain(self.database, grace_seconds=0):
            pass
        check(self.views, self.database, self.collection)
        check_files(self.database)
        upkeep.compact(self.database, self.collection)
        snapshot = check(self.views, self.database, self.collection)
        assert [part.whole and part.sealed is not None for part in snapshot.parts] == [True] * bool(self.items)
        check_files(self.database)
        upkeep.remove_retired(self.database, grace_seconds=0)
        assert files_of(self.database) == {row.name for row in rows_of(self.database, self.collection)}
        self.database.close()

    def put(self) -> None:
        new = [random_item(self.chance, str(self.chance.randrange(20))) for _ in range(self.chance.randint(1, 6))]
        self.items |= {item.id: item for item in new}
        put_learned(self.database, self.collection, *{item.id: item for item in new}.values())

    def delete(self) -> None:
        gone = self.chance.sample(sorted(self.items), self.chance.randint(0, len(self.items)))
        self.items = {id_: item for id_, item in self.items.items() if id_ not in gone}
        put_learned(self.database, self.collection, delete=gone)

    def touch(self) -> None:
        """Other metadata: a change that no search scores by."""
        for item in list(self.items.values())[:2]:
            put_learned(self.database, self.collection, Item(id=item.id, text=item.text, metadata={"n": 1}))

    def seal(self) -> None:
        sealing.seal(self.database, self.collection.active.id)

    def merge(self) -> None:
        ids = [row.id for row in rows_of(self.database, self.collection)]
        if ids:
            sealing.merge(self.database, self.collection.active.id, self.chance.sample(ids, min(len(ids), 3)))

    def compact(self) -> None:
        upkeep.compact(self.database, self.collection)

    def maintain(self) -> None:
        upkeep.maintain(self.database, grace_seconds=0)

    def lose(self) -> None:
        for row in rows_of(self.database, self.collection)[:1]:
            (self.database.directory / SEGMENTS / row.name).unlink(missing_ok=True)

    def damage(self) -> None:
        """A new file with a flipped bit in the place of a sound one, whose map others may hold."""
        for row in rows_of(self.database, self.collection)[-1:]:
            path = self.database.directory / SEGMENTS / row.name
            if path.exists():
                content = bytearray(path.read_bytes())
                content[self.chance.randrange(200)] ^= 1  # in the header
                path.unlink()
                path.write_bytes(content)

    def search(self) -> None:
        expected = plain(self.database, self.collection)
        with self.views.open(self.collection.name) as view:
            assert answers(view) == expected

    def reopen(self) -> None:
        self.views = Views(self.database)
        self.search()


def test_histories_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that forgets what was removed is noticed."""
    monkeypatch.setattr(sealing, "removed_since", lambda *_: np.empty(0, np.int64))
    history = History(tmp_path, random.Random(1))
    with pytest.raises((AssertionError, HitNotFound)):
        history.run(["put", "put", "seal", "put", "seal", "delete", "compact", "search"])


def test_a_seal_holds_the_tail_and_a_merge_drops_what_went(database: Database, collection: Collection) -> None:
    generation = collection.active.id
    assert not sealing.seal(database, generation), "there is nothing to seal"
    put(database, collection, Item(id="a", text="whale\nship"), Item(id="b", text="sea"))
    assert sealing.seal(database, generation)
    assert not sealing.seal(database, generation)
    put(database, collection, Item(id="c", text="leg"), delete=["b"])
    assert sealing.seal(database, generation)
    first, second = rows_of(database, collection)
    assert (first.rows, second.rows, second.seq, second.as_of) == (3, 1, 5, 5)
    assert sealing.merge(database, generation, [first.id, second.id])
    (merged,) = rows_of(database, collection)
    assert (merged.rows, merged.seq, merged.as_of) == (3, 5, 5)
    assert [row.state for row in table_of(database)] == ["retired", "retired", "active"]
    assert not sealing.merge(database, generation, [first.id, second.id]), "they are no longer active"
    check(Views(database), database, collection)


def test_what_came_between_a_seal_and_a_merge_stays_in_the_tail(database: Database, collection: Collection) -> None:
    segmented(database, collection, segments=2)
    ids = [row.id for row in rows_of(database, collection)]
    put(database, collection, Item(id="later", text="leg leg"), delete=["0-1"])
    assert sealing.merge(database, collection.active.id, ids)
    snapshot = check(Views(database), database, collection)
    assert sorted(part.live_count for part in snapshot.parts) == [3, 7]


def test_a_segment_without_live_passages_goes(database: Database, collection: Collection) -> None:
    views = segmented(database, collection, segments=2)
    put(database, collection, delete=[f"1-{i}" for i in range(4)])
    assert upkeep.maintain(database)
    assert [row.rows for row in rows_of(database, collection)] == [4]
    check(views, database, collection)
    put(database, collection, *(Item(id=f"0-{i}", text="ship") for i in range(4)), delete=["tail"])
    put(database, collection, delete=[f"0-{i}" for i in range(4)])
    while upkeep.maintain(database, grace_seconds=0):
        pass
    assert rows_of(database, collection) == []
    assert files_of(database) == set()
    assert check(views, database, collection).parts == ()
    assert not sealing.seal(database, collection.active.id)
    put(database, collection, Item(id="new", text="whale"))
    assert sealing.seal(database, collection.active.id)
    check(views, database, collection)


def test_an_empty_collection_needs_nothing(database: Database, collection: Collection, views: Views) -> None:
    assert not upkeep.maintain(database)
    assert not upkeep.compact(database, collection)
    assert not sealing.rebuild(database, collection.active.id)
    assert not sealing.seal(database, 999)
    assert not (database.directory / SEGMENTS).exists()
    check(views, database, collection)


def test_only_what_is_new_is_read_when_segments_change(database: Database, collection: Collection) -> None:
    views = segmented(database, collection)
    with views.open("books") as view:
        before = {part.sealed: part.segment for part in view._snapshot.parts}
    merged = [row.id for row in rows_of(database, collection)][:2]
    assert sealing.merge(database, collection.active.id, merged)
    with views.open("books") as view:
        after = {part.sealed: part.segment for part in view._snapshot.parts}
    kept = before.keys() & after.keys()
    assert len(kept) == 2  # the third segment, and the tail
    assert all(after[id_] is before[id_] for id_ in kept)


def test_a_small_tail_is_sealed_when_it_is_quiet(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "QUIET_ROWS", 2)
    put(database, collection, Item(id="a", text="whale\nship"))
    clock = [100.0]
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    seen = upkeep.Seen()
    assert not upkeep.maintain(database, seen)
    clock[0] += upkeep.QUIET_SECONDS - 0.1
    put(database, collection, Item(id="b", text="sea"))
    assert not upkeep.maintain(database, seen)
    clock[0] += upkeep.QUIET_SECONDS - 0.1
    assert not upkeep.maintain(database, seen)
    clock[0] += 0.2
    assert upkeep.maintain(database, seen)
    assert [row.rows for row in rows_of(database, collection)] == [3]
    assert not upkeep.maintain(database, seen)
    put(database, collection, Item(id="c", text="sea"))  # too few, however quiet
    clock[0] += 100
    assert not upkeep.maintain(database, seen)
    clock[0] += 100
    assert not upkeep.maintain(database, seen)


@pytest.mark.parametrize("seed", range(4))
def test_live_rows_are_counted_on_from_an_earlier_look(database: Database, collection: Collection, seed: int) -> None:
    chance, known, generation = random.Random(seed), None, collection.active.id
    for _ in range(25):
        step = chance.choice(["put", "delete", "seal", "merge"])
        ids = [str(chance.randrange(20)) for _ in range(4)]
        if step == "seal":
            sealing.seal(database, generation)
        elif step == "merge":
            sealing.merge(database, generation, [row.id for row in rows_of(database, collection)[:2]] or [0])
        else:
            put(database, collection, *(random_item(chance, id_) for id_ in set(ids) if step == "put"), delete=ids)
        known = upkeep._live_rows(database, generation, known)
        assert known == upkeep._live_rows(database, generation)


def test_only_what_is_new_is_counted(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented(database, collection)
    opened: list[str] = []
    removed: list[int] = []

    def open_ids(directory: Path, row: SegmentRow) -> Int64Array:
        opened.append(row.name)
        return files.open_ids(directory, row)

    def removed_since(session: ReadSession, generation: int, since: int) -> Int64Array:
        found = changes.removed_since(session, generation, since)
        removed.append(len(found))
        return found

    monkeypatch.setattr(upkeep, "open_ids", open_ids)
    monkeypatch.setattr(upkeep, "removed_since", removed_since)
    seen = upkeep.Seen()
    put(database, collection, delete=["0-0", "1-0"])
    assert not upkeep.maintain(database, seen)
    assert (len(opened), removed) == (3, [2])
    put(database, collection, Item(id="new", text="whale"))
    assert not upkeep.maintain(database, seen)
    assert (len(opened), removed) == (3, [2, 0])
    put(database, collection, delete=["1-1"])
    assert not upkeep.maintain(database, seen)
    assert (len(opened), removed) == (6, [2, 0, 1])
    put(database, collection, delete=["1-2"])
    assert upkeep.maintain(database, seen), "three of four are gone"
    with database.write() as session:
        catalog.delete_collection(session, "books")
    assert not upkeep.maintain(database, seen)
    assert (seen.since, seen.live) == ({}, {})


def test_upkeep_of_many_seals_makes_few_segments(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SEAL_ROWS", 1)
    views, most = Views(database), 0
    for number in range(40):
        put(database, collection, Item(id=str(number % 25), text=f"whale {number}"))
        while upkeep.maintain(database):
            most = max(most, len(rows_of(database, collection)))
    assert len(rows_of(database, collection)) < 4
    assert most <= 5
    check(views, database, collection)


def test_upkeep_sees_to_every_collection(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SEAL_ROWS", 2)
    other = create(database, "films")
    put(database, collection, Item(id="a", text="whale\nship"))
    put(database, other, Item(id="a", text="sea\nleg\ncaptain"))
    while upkeep.maintain(database):
        pass
    with database.read() as session:
        rows = [active_segments(session, generation) for generation in (collection.active.id, other.active.id)]
    assert [[row.rows for row in segments] for segments in rows] == [[2], [3]]
    views = Views(database)
    check(views, database, collection)
    check(views, database, other)
