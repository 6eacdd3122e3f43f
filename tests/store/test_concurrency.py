"""Searching while others write: every answer is that of one committed state."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from core.filters import parse_filter
from core.records import Collection, Float32Array
from store import Database, ReadSession, Views, catalog
from store.snapshot import Snapshot
from tests.store.library import Item, Place, dense_oracle, put, sparse_oracle, vector_of

WORDS = ["whale", "ship", "sea", "harpoon"]
COMMITS = 60
READERS = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one view said to one query."""

    seq: int
    query: Float32Array
    term: str
    parity: int
    passages: int
    dense: list[tuple[Place, float]]
    sparse: list[tuple[Place, float]]
    filtered: list[tuple[Place, float]]
    metadata: dict[str, object]  # of every passage found, by document


def search(views: Views, chance: random.Random) -> Answer:
    query, term, parity = vector_of(str(chance.random())), chance.choice(WORDS), chance.randrange(2)
    with views.open("books") as view:
        ids = view.nearest(query, 10_000).ids
        hits = {hit.id: hit for hit in view.fetch(ids)}
        assert len(hits) == view.passage_count
        place = {id_: (hit.document_id, hit.passage.start) for id_, hit in hits.items()}
        allowed = view.filter(parse_filter({"parity": parity}))
        pools = [view.nearest(query, 5), view.matching({term: 1}, 5), view.nearest(query, 5, allowed)]
        for pool in pools:
            assert (view.dense_scores(query, pool.ids).shape[0]) == len(pool.ids)
        dense, sparse, filtered = (
            [(place[int(id_)], float(score)) for id_, score in zip(pool.ids, pool.scores, strict=True)]
            for pool in pools
        )
        return Answer(
            seq=view.seq,
            query=query,
            term=term,
            parity=parity,
            passages=view.passage_count,
            dense=dense,
            sparse=sparse,
            filtered=filtered,
            metadata={hit.document_id: hit.metadata for hit in hits.values()},
        )


def check(answer: Answer, items: dict[str, Item]) -> None:
    assert answer.passages == sum(len(item.lines()) for item in items.values())
    assert answer.metadata == {item.id: item.metadata for item in items.values()}
    some = [item for item in items.values() if item.metadata["parity"] == answer.parity]
    for found, scores in (
        (answer.dense, dense_oracle(items.values(), answer.query)),
        (answer.sparse, sparse_oracle(items.values(), {answer.term: 1})),
        (answer.filtered, dense_oracle(some, answer.query)),
    ):
        assert [score for _, score in found] == pytest.approx(sorted(scores.values(), reverse=True)[:5], rel=1e-6)
        assert [score for _, score in found] == pytest.approx([scores[place] for place, _ in found], rel=1e-6)
        assert len({place for place, _ in found}) == len(found)


def test_answers_while_writing_are_those_of_committed_states(database: Database, collection: Collection) -> None:
    views = Views(database)
    states: dict[int, dict[str, Item]] = {}
    items = {"0": Item(id="0", text="whale", metadata={"parity": 0})}
    states[put(database, collection, *items.values()).seq] = dict(items)
    answers: list[Answer] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def read(seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not done.is_set():
                answers.append(search(views, chance))
        except BaseException as error:
            failures.append(error)
            raise

    def write() -> None:
        chance = random.Random(0)
        for _ in range(COMMITS):
            new = [random_item(chance) for _ in range(chance.randint(1, 6))]
            gone = chance.sample(sorted(items), min(len(items) - 1, chance.randint(0, 3)))
            # A metadata-only change now and then: same text, other parity.
            old = items[chance.choice(sorted(items))]
            if old.id not in gone:
                new.append(Item(id=old.id, text=old.text, metadata={"parity": 1 - int(str(old.metadata["parity"]))}))
            receipt = put(database, collection, *new, delete=gone)
            items.update({item.id: item for item in new})
            for id_ in gone:
                items.pop(id_, None)
            states[receipt.seq] = dict(items)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        write()
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert not failures
    answers.append(search(views, random.Random(9)))
    assert answers[-1].seq == max(states)
    assert len({answer.seq for answer in answers}) > 5
    for answer in answers:
        check(answer, states[answer.seq])


def random_item(chance: random.Random) -> Item:
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 5))) for _ in range(chance.randint(1, 2))]
    return Item(id=str(chance.randrange(30)), text="\n".join(lines), metadata={"parity": chance.randrange(2)})


def test_a_view_keeps_its_state_while_others_go_on(database: Database, collection: Collection) -> None:
    views = Views(database)
    put(database, collection, Item(id="a", text="whale", metadata={"parity": 0}))
    with views.open("books") as old:
        put(database, collection, Item(id="b", text="ship", metadata={"parity": 0}), delete=["a"])
        with views.open("books") as new:
            assert [hit.document_id for hit in new.fetch(new.nearest(vector_of("x"), 5).ids)] == ["b"]
        ids = old.nearest(vector_of("x"), 5).ids
        assert [hit.document_id for hit in old.fetch(ids)] == ["a"]
        assert old.filter(parse_filter({"parity": 0})).tolist() == ids.tolist()
        assert np.isfinite(old.dense_scores(vector_of("x"), ids)).all()


def test_other_metadata_alone_computes_no_weights_anew(database: Database, collection: Collection) -> None:
    views = Views(database)
    put(database, collection, Item(id="a", text="whale", metadata={"parity": 0}))
    with views.open("books") as old:
        put(database, collection, Item(id="a", text="whale", metadata={"parity": 1}))
        with views.open("books") as new:
            assert new.seq > old.seq
            assert new._snapshot.parts[0] is old._snapshot.parts[0]
            assert len(new.filter(parse_filter({"parity": 1}))) == 1


def test_a_view_that_a_newer_snapshot_overtakes_begins_again(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Views(database)
    put(database, collection, Item(id="a", text="whale"))
    others = Views(database)
    answer = views._snapshot
    said: list[bool] = []

    def overtaken(session: ReadSession, name: str) -> Snapshot | None:
        if not said:
            catalog.get_collection(session, name)  # from here on the transaction sees one state
            put(database, collection, Item(id="b", text="ship"))
            with others.open("books"):
                views._slots = others._slots
        snapshot = answer(session, name)
        said.append(snapshot is not None)
        return snapshot

    monkeypatch.setattr(views, "_snapshot", overtaken)
    with views.open("books") as view:
        assert view.passage_count == 2
    assert said == [False, True]


def test_one_who_writes_without_a_pause_lets_others_in(database: Database) -> None:
    begun, over = [0], threading.Event()

    def write_again_and_again() -> None:
        while not over.is_set():
            with database.write():
                begun[0] += 1
                over.wait(0.02)

    thread = threading.Thread(target=write_again_and_again)
    thread.start()
    try:
        for _ in range(5):
            before = begun[0]
            with database.write():
                assert begun[0] - before <= 3
    finally:
        over.set()
        thread.join(60)
