"""The engine comes to hold what the database has, whatever happens on the way."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from core.errors import IndexUnavailable
from core.records import Collection, IndexKind
from store import Database, Views, catalog
from store import indexreplication as module
from store.indexreplication import Replication
from store.maintenance import Maintenance, MaintenancePolicy, maintain_once
from store.passageindex.protocol import Entries
from store.passageindex.record import IndexRecord, list_records
from store.segments.rows import active_segments
from tests.store.learned_library import create_learned, put_learned, weights_of
from tests.store.library import DIMENSION, Item, create, put, terms_of, vector_of
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import INDEXED, record_of
from tests.store.passageindex.plain import PlainIndex
from tests.waiting import until


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def held(index: PlainIndex, database: Database, collection: Collection) -> dict[str, int]:
    """By text: how often the engine has a passage of it that is there."""
    name = record_of(database, collection.name).name
    ids = np.concatenate([np.empty(0, np.int64), *(entries.ids for entries in index.entries(name))])
    with Views(database, index).open(collection.name) as view:
        texts = [hit.text for hit in view.fetch(np.intersect1d(ids, view.every_passage()))]
    return {text: texts.count(text) for text in texts}


def test_many_are_brought_at_once_and_few_when_it_is_quiet(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.indexreplication.SEAL_ROWS", 10)
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 2)
    busy, quiet = Replication(index, quiet_seconds=1000.0), Replication(index, quiet_seconds=0.0)
    put(database, collection, *(Item(id=f"d{number}", text=f"whale {number}") for number in range(9)))
    assert not busy.follow(database)
    assert held(index, database, collection) == {}
    assert quiet.follow(database)
    assert len(held(index, database, collection)) == 9
    put(database, collection, Item(id="one", text="one"))
    assert not quiet.follow(database), "one passage waits for others"
    put(database, collection, *(Item(id=f"e{number}", text=f"ship {number}") for number in range(10)))
    assert busy.follow(database)
    assert len(held(index, database, collection)) == 20
    with database.read() as session:
        assert active_segments(session, collection.active.id) == []


def test_the_engine_gets_vectors_and_weights_as_they_are_stored(database: Database, index: PlainIndex) -> None:
    collection = create_learned(database, index=IndexKind.MILVUS)
    lines = ["whale ship whale", "sea", "", "captain leg sea"]
    put_learned(database, collection, Item(id="d", text="\n".join(lines)))
    bring(database, index)
    entries = list(index.entries(record_of(database, collection.name).name))
    vectors = np.concatenate([one.vectors for one in entries])
    assert vectors.tolist() == [vector_of(line).tolist() for line in lines]
    for kind in ("bm25", "learned"):
        rows = [getattr(one, kind) for one in entries]
        found = [
            dict(zip(row.ids[begin:end].tolist(), row.weights[begin:end].tolist(), strict=True))
            for row in rows
            for begin, end in zip(row.offsets, row.offsets[1:], strict=False)
        ]
        if kind == "learned":
            assert found == [weights_of(line) for line in lines]
        else:
            assert [len(weights) for weights in found] == [len(terms_of(line)) for line in lines]
            average = 7 / 4
            expected = 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / average))  # "whale" of the first line
            assert max(found[0].values()) == pytest.approx(expected, rel=1e-6)


def test_what_went_stays_for_a_while_and_then_goes(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 1)
    clock = Clock()
    following = Replication(index, grace_seconds=60.0, quiet_seconds=0.0, clock=clock)
    put(database, collection, Item(id="a", text="whale"), Item(id="b", text="ship"))
    while following.follow(database):
        pass
    put(database, collection, delete=["a"])
    name = record_of(database, collection.name).name
    for seconds, expected in ((0.0, 2), (61.0, 2), (120.0, 2), (122.0, 1)):  # a span of changes at a time
        clock.now = seconds
        while following.follow(database):
            pass
        assert sum(len(entries.ids) for entries in index.entries(name)) == expected
    assert held(index, database, collection) == {"ship": 1}


def test_an_engine_that_lost_everything_gets_it_again(
    database: Database, collection: Collection, index: PlainIndex, caplog: pytest.LogCaptureFixture
) -> None:
    put(database, collection, *(Item(id=f"d{number}", text=f"whale {number}") for number in range(20)))
    bring(database, index)
    before = record_of(database, collection.name)
    index.drop(before.name)
    bring(database, index)
    assert "made anew from the database" in caplog.text
    after = record_of(database, collection.name)
    assert after.name != before.name
    assert (after.passages, after.length, after.seq) == (before.passages, before.length, before.seq)
    assert len(held(index, database, collection)) == 20
    with database.read() as session:
        assert [one.name for one in list_records(session)] == [after.name]


def test_an_engine_that_has_it_empty_again_gets_it_again(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    """As when the owner that was to bring it anew made it, and was killed."""
    put(database, collection, Item(id="a", text="whale"), Item(id="b", text="ship"))
    bring(database, index)
    before = record_of(database, collection.name)
    index.drop(before.name)
    index.create(before.name, DIMENSION, learned=False)
    bring(database, index)
    assert held(index, database, collection) == {"whale": 1, "ship": 1}
    put(database, collection, delete=["a", "b"])
    bring(database, index)
    after = record_of(database, collection.name)
    assert index.count(after.name) == 0
    bring(database, index)
    assert record_of(database, collection.name) == after, "it is empty, and ought to be"


def test_one_that_is_refused_does_not_hold_up_the_others(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 1)
    other = create(database, "other", INDEXED)
    refused = record_of(database, collection.name).name

    def put_but_one(name: str, entries: Entries) -> None:
        if name == refused:
            raise IndexUnavailable("refused")
        PlainIndex.put(index, name, entries)

    monkeypatch.setattr(index, "put", put_but_one)
    for one in (collection, other):
        put(database, one, Item(id="a", text="whale"))
    following = Replication(index, quiet_seconds=0.0)
    for _ in range(4):
        with suppress(IndexUnavailable):
            following.follow(database)
    assert (record_of(database, collection.name).seq, held(index, database, other)) == (0, {"whale": 1})


def test_weights_go_by_the_length_of_the_passages_that_are_brought(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that came since the owner began to look have been counted, too."""
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 1)

    def seen_late(found: Database, record: IndexRecord) -> object:
        if record_of(database, collection.name).passages == 1:
            put(database, collection, Item(id="b", text="whale"))
        return state(found, record)

    put(database, collection, Item(id="a", text="whale ship sea"))
    state = module._state
    monkeypatch.setattr(module, "_state", seen_late)
    while Replication(index, quiet_seconds=0.0).follow(database):
        pass
    found = index.held(record_of(database, collection.name).name).values()
    lengths = {len(one.bm25): weight for one in found for weight in one.bm25.values()}
    expected = {length: 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * length / 2)) for length in (3, 1)}
    assert lengths == pytest.approx(expected, rel=1e-6)


def test_collections_with_nothing_to_do_take_no_reads_of_their_own(
    database: Database, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands, and they are looked at four times a second."""
    many = [create(database, f"c{number}", INDEXED) for number in range(8)]
    for collection in many[:4]:  # some wait for more to come
        put(database, collection, Item(id="a", text="whale"))
    following, reads = Replication(index, quiet_seconds=0.0), [0]
    assert not following.follow(database)
    assert not following.follow(database)
    read = database.read

    def counted() -> object:
        reads[0] += 1
        return read()

    monkeypatch.setattr(database, "read", counted)
    assert not following.follow(database)
    assert reads[0] == 1
    put(database, many[5], *(Item(id=f"d{number}", text=f"whale {number}") for number in range(300)))
    assert following.follow(database), "what comes is brought all the same"
    assert len(index.held(record_of(database, many[5].name).name)) == 300


def test_what_a_deleted_collection_had_is_dropped(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    put(database, collection, Item(id="a", text="whale"))
    bring(database, index)
    assert index.names() == {record_of(database, collection.name).name}
    with database.write() as session:
        catalog.delete_collection(session, "books")
    bring(database, index)
    assert index.names() == set()
    with database.read() as session:
        assert list_records(session) == []


def test_an_engine_that_is_down_gets_it_later(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 1)
    monkeypatch.setattr("store.maintenance.Replication", partial(Replication, quiet_seconds=0.0))
    index.down = True
    put(database, collection, Item(id="a", text="whale"))
    with pytest.raises(IndexUnavailable):
        Replication(index, quiet_seconds=0.0).follow(database)
    maintain_once(database, index=index)  # said in the log, and no more
    with Views(database, index).open("books") as view:
        assert len(view.matching({"whale": 1.0}, 3).ids) == 1, "nothing is there yet: the tail has all"
    maintenance = Maintenance(database, policy=MaintenancePolicy(poll_seconds=0.01), index=index)
    with maintenance.running():
        index.down = False
        until(lambda: record_of(database, collection.name).seq > 0, 30)
    assert held(index, database, collection) == {"whale": 1}


def test_an_owner_that_dies_before_it_notes_what_it_brought_does_no_harm(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, collection, Item(id="a", text="whale"), Item(id="b", text="ship\nsea"))
    monkeypatch.setattr("store.indexreplication.moved", _killed)
    with pytest.raises(KeyboardInterrupt):
        bring(database, index)
    monkeypatch.undo()
    assert record_of(database, collection.name).seq == 0
    put(database, collection, delete=["a"])
    bring(database, index)
    assert held(index, database, collection) == {"ship": 1, "sea": 1}
    with Views(database, index).open("books") as view:
        assert len(view.nearest(vector_of("whale"), 10).ids) == 2


def _killed(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt
