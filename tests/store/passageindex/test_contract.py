"""What every engine has to do that holds passages: against sums over all of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from core.errors import IndexMissing, IndexUnavailable
from core.records import Float32Array, Int64Array
from store.passageindex.milvus import Milvus
from store.passageindex.protocol import MOST, Entries, PassageIndex, SparseRows, Weights
from tests.milvus import MilvusServer
from tests.store.passageindex.plain import PlainIndex
from tests.store.passageindex.samples import DIMENSION, TERMS, by_id, everything, some_entries


@pytest.fixture(scope="module", params=["milvus", "plain"])
def index(request: pytest.FixtureRequest, milvus: MilvusServer) -> Iterator[PassageIndex]:
    if request.param == "plain":  # what other tests have in the place of an engine
        yield PlainIndex()
        return
    found = Milvus(milvus.uri)
    yield found
    found.close()


@pytest.fixture(scope="module")
def filled(index: PassageIndex) -> Iterator[tuple[str, Entries]]:
    """Not to be changed."""
    made, entries = f"test_{uuid.uuid4().hex}", some_entries(1500, seed=1)
    index.create(made, DIMENSION, learned=True)
    index.put(made, entries)
    yield made, entries
    index.drop(made)


def table(rows: SparseRows) -> Float32Array:
    """(rows, ids): every weight."""
    every = np.zeros((len(rows.offsets) - 1, max(TERMS + 1, int(rows.ids.max(initial=0)) + 1)), dtype=np.float32)
    every[np.repeat(np.arange(len(every)), np.diff(rows.offsets)), rows.ids] = rows.weights
    return every


def best(ids: Int64Array, scores: Float32Array, limit: int) -> Int64Array:
    return ids[np.argsort(-scores, kind="stable")][:limit]


def sparse_of(entries: Entries, weights: Weights) -> SparseRows:
    rows = entries.bm25 if weights is Weights.BM25 else entries.learned
    assert rows is not None
    return rows


@pytest.mark.parametrize("limit", [1, 7, 300])
def test_nearest_are_those_with_the_largest_products(
    index: PassageIndex, filled: tuple[str, Entries], limit: int
) -> None:
    name, entries = filled
    for question in np.random.default_rng(2).standard_normal((5, DIMENSION)).astype(np.float32):
        found = index.nearest(name, question, limit)
        expected = best(entries.ids, entries.vectors @ question, limit)
        assert found.dtype == np.int64
        assert len(found) == limit
        assert len(np.intersect1d(found, expected)) >= 0.95 * limit  # a graph may miss some
        scores = (entries.vectors @ question)[np.argsort(entries.ids)][found - 1]
        assert (np.diff(scores) <= 1e-6).all()


@pytest.mark.parametrize("share", [0.002, 0.1, 0.9])
def test_nearest_among_some(index: PassageIndex, filled: tuple[str, Entries], share: float) -> None:
    name, entries = filled
    rng = np.random.default_rng(3)
    among = np.sort(rng.choice(entries.ids, max(1, int(share * len(entries.ids))), replace=False))
    question = rng.standard_normal(DIMENSION).astype(np.float32)
    inside = np.isin(entries.ids, among)
    expected = best(entries.ids[inside], entries.vectors[inside] @ question, 20)
    found = index.nearest(name, question, 20, among)
    assert len(found) == min(20, len(among))
    assert np.isin(found, among).all()
    assert len(np.intersect1d(found, expected)) >= 0.9 * len(expected)


@pytest.mark.parametrize("weights", Weights)
@pytest.mark.parametrize("limit", [1, 40, MOST])
@pytest.mark.parametrize("part", [False, True])
def test_matching_are_those_with_the_largest_sums(
    index: PassageIndex, filled: tuple[str, Entries], weights: Weights, limit: int, part: bool
) -> None:
    name, entries = filled
    rng = np.random.default_rng(4)
    every = table(sparse_of(entries, weights))
    least = 1 if weights is Weights.BM25 else 0
    for size in (1, 3, TERMS):
        ids = (rng.choice(TERMS, size, replace=False) + least).astype(np.int32)
        factors = rng.random(size, dtype=np.float32) + np.float32(0.1)
        among = np.sort(rng.choice(entries.ids, 200, replace=False)) if part else None
        scores = every[:, ids] @ factors
        usable = (scores > 0) & (np.isin(entries.ids, among) if among is not None else True)
        found = index.matching(name, weights, ids, factors, limit, among)
        expected = best(entries.ids[usable], scores[usable], limit)
        assert len(found) == len(expected)
        score = dict(zip(entries.ids.tolist(), scores.tolist(), strict=True))
        assert [score[id_] for id_ in found.tolist()] == pytest.approx([score[id_] for id_ in expected.tolist()])
        assert len(set(found.tolist())) == len(found)


@pytest.mark.parametrize("weights", Weights)
def test_no_weights_match_nothing(index: PassageIndex, filled: tuple[str, Entries], weights: Weights) -> None:
    """What stands for them in the engine is not to be found by any id, 0 included."""
    name, entries = filled
    empty = entries.ids[np.diff(sparse_of(entries, weights).offsets) == 0]
    assert len(empty) > 50
    ids = np.arange(0 if weights is Weights.LEARNED else 1, TERMS + 1, dtype=np.int32)
    found = index.matching(name, weights, ids, np.ones(len(ids), dtype=np.float32), MOST)
    assert not np.isin(empty, found).any()
    assert not np.isin(empty, index.holding(name, weights, ids)).any()


@pytest.mark.parametrize("learned", [False, True])
def test_entries_come_back_to_the_last_bit(index: PassageIndex, name: str, learned: bool) -> None:
    entries = some_entries(1234, seed=5, learned=learned, first=2**40)
    index.create(name, DIMENSION, learned=learned)
    assert list(index.entries(name)) == []
    index.put(name, entries)
    assert everything(index, name) == by_id(entries)


def test_one_that_is_put_again_is_replaced(index: PassageIndex, name: str) -> None:
    index.create(name, DIMENSION, learned=True)
    old, new = some_entries(300, seed=6), some_entries(200, seed=7, first=101)
    index.put(name, old)
    index.put(name, new)
    assert everything(index, name) == by_id(old) | by_id(new)
    found = index.nearest(name, new.vectors[0], 300)
    assert sorted(found.tolist()) == list(range(1, 301))
    assert found[0] == new.ids[0]
    for weights in Weights:
        ids = np.array([5], dtype=np.int32)
        lists = {
            id_
            for id_, row in (by_id(old) | by_id(new)).items()
            if 5 in (row[2 if weights.value == "learned" else 1] or {})
        }
        assert set(index.holding(name, weights, ids).tolist()) == lists
        assert set(index.matching(name, weights, ids, np.ones(1, dtype=np.float32), MOST).tolist()) == lists


def test_what_is_removed_is_gone(index: PassageIndex, name: str) -> None:
    index.create(name, DIMENSION, learned=True)
    entries = some_entries(400, seed=8)
    index.put(name, entries)
    removed = np.array([*range(1, 400, 2), 9_999])  # one was never there
    index.remove(name, removed)
    index.remove(name, removed)
    index.remove(name, np.empty(0, dtype=np.int64))
    left = set(range(2, 401, 2))
    assert set(everything(index, name)) == left
    assert set(index.nearest(name, entries.vectors[0], 400).tolist()) == left
    every = np.arange(TERMS + 1, dtype=np.int32)
    assert set(index.holding(name, Weights.LEARNED, every).tolist()) <= left
    assert set(index.matching(name, Weights.LEARNED, every, np.ones(TERMS + 1, np.float32), MOST).tolist()) <= left


def test_one_is_made_once_and_dropped_for_good(index: PassageIndex, name: str) -> None:
    index.create(name, DIMENSION, learned=False)
    assert index.count(name) == 0
    index.put(name, some_entries(50, seed=9, learned=False))
    index.create(name, DIMENSION, learned=False)
    assert len(everything(index, name)) == index.count(name) == 50
    index.drop(name)
    index.drop(name)
    with pytest.raises(IndexMissing):
        index.nearest(name, np.ones(DIMENSION, dtype=np.float32), 1)
    index.create(name, DIMENSION, learned=True)
    assert everything(index, name) == {}


def test_many_may_make_the_same_one(index: PassageIndex, name: str) -> None:
    failed = []

    def make() -> None:
        try:
            index.create(name, DIMENSION, learned=True)
        except IndexUnavailable as error:
            failed.append(error.__cause__)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    index.put(name, some_entries(20, seed=10))
    assert len(index.nearest(name, np.ones(DIMENSION, dtype=np.float32), 100)) == 20


def test_the_largest_ids(index: PassageIndex, name: str) -> None:
    largest = 2**31 - 1
    rows = SparseRows(
        offsets=np.array([0, 2]), ids=np.array([0, largest], np.int32), weights=np.array([0.5, 0.25], np.float32)
    )
    entries = Entries(ids=np.array([2**62]), vectors=np.ones((1, DIMENSION), np.float32), bm25=rows, learned=rows)
    index.create(name, DIMENSION, learned=True)
    index.put(name, entries)
    assert everything(index, name) == by_id(entries)
    for id_ in (0, largest):
        found = index.matching(name, Weights.LEARNED, np.array([id_], np.int32), np.ones(1, np.float32), 1)
        assert found.tolist() == [2**62]


def test_asking_for_nothing(index: PassageIndex, filled: tuple[str, Entries]) -> None:
    name, entries = filled
    nothing = np.empty(0, dtype=np.int64)
    one = np.ones(1, dtype=np.float32)
    assert index.nearest(name, entries.vectors[0], 5, nothing).tolist() == []
    assert index.matching(name, Weights.BM25, np.array([3], np.int32), one, 5, nothing).tolist() == []
    assert index.nearest(name, entries.vectors[0], 5, np.array([10**9])).tolist() == []


def test_as_many_as_one_may_ask_for(index: PassageIndex, filled: tuple[str, Entries]) -> None:
    name, entries = filled
    assert len(index.nearest(name, entries.vectors[0], MOST)) == len(entries.ids)


@pytest.mark.parametrize("weights", Weights)
def test_holding_are_all_with_a_weight_of_any(
    index: PassageIndex, filled: tuple[str, Entries], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, entries = filled
    monkeypatch.setattr("store.passageindex.milvus.MOST", 100)  # several pages
    every = table(sparse_of(entries, weights))
    least = 1 if weights is Weights.BM25 else 0
    for ids in ([least], [least, 7, 20], list(range(least, TERMS + least)), [10_000]):
        expected = entries.ids[(every[:, [id_ for id_ in ids if id_ < every.shape[1]]] > 0).any(axis=1)]
        found = index.holding(name, weights, np.array(ids, dtype=np.int32))
        assert sorted(found.tolist()) == sorted(expected.tolist())
