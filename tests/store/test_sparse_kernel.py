"""The compiled loops of the sparse legs against numpy, to the last bit, and both against sums in plain Python."""

from __future__ import annotations

import functools
import operator
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import (
    Collection,
    CollectionSettings,
    Generation,
    GenerationState,
    Int64Array,
)
from store import Pool, bm25, kernel, kernel_loading, sparse
from store.segments.postings import Postings
from store.segments.segment import Segment
from store.snapshot import Part, Snapshot

Passages = Mapping[int, tuple[Mapping[int, float], bool]]  # id: (value of each term, whether it is live)
TERMS = 6
COLLECTION = Collection(
    id=1,
    name="books",
    settings=CollectionSettings(),
    active=Generation(id=1, collection_id=1, model="", fingerprint="", dimension=1, state=GenerationState.ACTIVE),
    created_at="",
)


@contextmanager
def by(way: str) -> Iterator[None]:
    """Have `way` do the work, "numpy" or "kernel"."""
    with pytest.MonkeyPatch.context() as patch:
        state = kernel_loading._State(kernel=kernel if way == "kernel" else None)
        patch.setattr(kernel_loading, "_state", state)
        yield


def snapshot_of(segments: Sequence[Passages], *, read_only: bool = False) -> Snapshot:
    values = [value for segment in segments for value, live in segment.values() if live]
    average = sum(sum(value.values()) for value in values) / len(values) if values else 0.0
    return Snapshot(
        collection=COLLECTION,
        seq=1,
        newest_segment=0,
        tail_begin=0,
        parts=tuple(part_of(segment, average, read_only=read_only) for segment in segments),
        passage_count=len(values),
        average_length=average,
    )


def part_of(passages: Passages, average: float, *, read_only: bool) -> Part:
    ids = sorted(passages)
    entries = [(term, row, value) for row, id_ in enumerate(ids) for term, value in passages[id_][0].items()]
    postings = Postings.build(
        np.array([term for term, _, _ in entries], np.int32),
        np.array([row for _, row, _ in entries], np.int32),
        np.array([value for _, _, value in entries], np.float32),
        row_count=len(ids),
    )
    live = np.array([passages[id_][1] for id_ in ids], np.bool_)
    segment = Segment(
        ids=np.array(ids, np.int64),
        documents=np.array(ids, np.int64),
        vectors=np.zeros((len(ids), 1), np.float32),
        largest_norm=0.0,
        postings=postings,
        learned=postings,
    )
    if read_only:
        for array in (segment.ids, live, postings.terms, postings.offsets, postings.rows, postings.values):
            array.flags.writeable = False
    saturations = bm25.saturation(postings.lengths, average, k1=1.2, b=0.75)
    return Part(segment=segment, sealed=None, live=live, live_count=int(live.sum()), saturations=saturations)


def oracle(
    snapshot: Snapshot, segments: Sequence[Passages], terms: Sequence[tuple[int, float]], *, learned: bool
) -> dict[int, float]:
    """The score of every live passage that matches, term by term."""
    scores = {}
    for segment in segments:
        for id_, (values, live) in segment.items():
            if not live:
                continue
            length, score = sum(values.values()), 0.0
            for term, factor in terms:
                value = values.get(term, 0.0)
                if value and not learned:
                    saturation = np.float32(1.2 * (1 - 0.75 + 0.75 * length / snapshot.average_length))
                    value = float(np.float32(value) / (np.float32(value) + saturation))
                score += factor * value
            if score > 0:
                scores[id_] = score
    return scores


def ranked(scores: Mapping[int, float], k: int) -> list[tuple[int, float]]:
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]


def pairs(pool: Pool) -> list[tuple[int, float]]:
    return list(zip(pool.ids.tolist(), pool.scores.tolist(), strict=True))


# Few values and few lengths: equal scores are many.
a_passage = st.tuples(st.dictionaries(st.integers(0, TERMS - 1), st.sampled_from([1.0, 2.0, 5.0])), st.booleans())
a_query = st.lists(
    st.tuples(st.integers(0, TERMS), st.sampled_from([0.25, 1.0, 3.5])), max_size=9, unique_by=lambda term: term[0]
)


@settings(max_examples=300, deadline=None)
@given(
    passages=st.lists(st.tuples(a_passage, st.integers(0, 2)), max_size=40),
    terms=a_query,
    k=st.sampled_from([1, 3, 1000]),
    learned=st.booleans(),
    some=st.none() | st.sets(st.integers(0, 45)),
)
def test_kernel_numpy_and_plain_python_agree(
    passages: list[tuple[tuple[dict[int, float], bool], int]],
    terms: list[tuple[int, float]],
    k: int,
    learned: bool,
    some: set[int] | None,
) -> None:
    # Which segment a passage is in is drawn: their ids interleave.
    segments = [{id_: passage for id_, (passage, place) in enumerate(passages) if place == part} for part in range(3)]
    snapshot = snapshot_of([segment for segment in segments if segment], read_only=True)
    weighted = sparse.learned_weights if learned else sparse.bm25_weights
    allowed = None if some is None else np.array(sorted(some), np.int64)
    live = np.array([id_ for id_, ((_, is_live), _) in enumerate(passages) if is_live], np.int64)
    scores = oracle(snapshot, segments, terms, learned=learned)
    found, tables = {}, {}
    for way in ("numpy", "kernel"):
        with by(way):
            found[way] = sparse.matching(snapshot, weighted, terms, k, allowed)
            tables[way] = sparse.products(snapshot, weighted, terms, live[::-1])
    assert pairs(found["kernel"]) == pairs(found["numpy"])
    expected = {id_: score for id_, score in scores.items() if some is None or id_ in some}
    assert pairs(found["kernel"]) == ranked(expected, k)
    assert tables["kernel"].tolist() == tables["numpy"].tolist()
    # Added from left to right, as a search adds them: the very numbers that were ranked by.
    sums = [functools.reduce(operator.add, products, 0.0) for products in tables["kernel"].tolist()]
    assert sums == [scores.get(id_, 0.0) for id_ in live[::-1].tolist()]


@pytest.fixture(scope="module")
def large() -> tuple[Snapshot, list[Passages]]:
    """Two segments of several windows each, one of some rows; a tenth is removed."""
    chance = np.random.default_rng(7)
    segments: list[Passages] = []
    begin = 0
    for rows in (3 * kernel.WINDOW + 5, kernel.WINDOW, 70):
        terms, dead = chance.random((rows, TERMS)) < 0.4, chance.random(rows) < 0.1
        counts = chance.integers(1, 30, (rows, TERMS))
        segments.append(
            {
                begin + row: ({int(t): float(counts[row, t]) for t in np.flatnonzero(terms[row])}, not dead[row])
                for row in range(rows)
            }
        )
        begin += rows
    return snapshot_of(segments), segments


@pytest.mark.parametrize("k", [1, 10, 300, 5000, 100_000])
@pytest.mark.parametrize("learned", [False, True])
def test_many_windows(large: tuple[Snapshot, list[Passages]], k: int, learned: bool) -> None:
    snapshot, segments = large
    weighted = sparse.learned_weights if learned else sparse.bm25_weights
    terms = [(4, 0.5), (1, 2.0), (99, 3.0), (0, 0.125)]
    expected = ranked(oracle(snapshot, segments, terms, learned=learned), k)
    for way in ("numpy", "kernel"):
        with by(way):
            assert pairs(sparse.matching(snapshot, weighted, terms, k, None)) == expected, way


@pytest.mark.parametrize("share", [0.001, 0.3])
def test_many_windows_with_a_filter(large: tuple[Snapshot, list[Passages]], share: float) -> None:
    snapshot, segments = large
    total = sum(map(len, segments))
    allowed: Int64Array = np.flatnonzero(np.random.default_rng(1).random(total) < share)
    scores = oracle(snapshot, segments, [(1, 2.0), (2, 1.0)], learned=False)
    expected = ranked({id_: scores[id_] for id_ in allowed.tolist() if id_ in scores}, 20)
    for way in ("numpy", "kernel"):
        with by(way):
            pool = sparse.matching(snapshot, sparse.bm25_weights, [(1, 2.0), (2, 1.0)], 20, allowed)
            assert pairs(pool) == expected, way


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_of_very_many_equals_the_smallest_ids_are_found(k: int) -> None:
    rows = 2 * kernel.WINDOW
    high = {id_: ({1: 1.0}, True) for id_ in range(rows, 2 * rows)}
    low = {id_: ({1: 1.0}, True) for id_ in range(rows)}
    snapshot = snapshot_of([high, low])  # the smaller ids are met last
    for way in ("numpy", "kernel"):
        with by(way):
            pool = sparse.matching(snapshot, sparse.bm25_weights, [(1, 1.0)], k, None)
            assert pool.ids.tolist() == list(range(k)), way


def test_products_of_many_passages(large: tuple[Snapshot, list[Passages]]) -> None:
    snapshot, _ = large
    live = np.concatenate([part.segment.ids[part.live] for part in snapshot.parts])
    asked = np.random.default_rng(3).permutation(live)[:3000]
    terms = [(term, 1.0 + term) for term in (5, 2, 99, 0)]
    tables = []
    for ids in (asked, np.sort(asked)):  # in any order, and as a search asks
        for way in ("numpy", "kernel"):
            with by(way):
                table = sparse.products(snapshot, sparse.bm25_weights, terms, ids)
                tables.append(table[np.argsort(ids)])
    assert all((table == tables[0]).all() for table in tables)
    assert (tables[0] > 0).any(axis=0).tolist() == [True, True, False, True]


def test_df_counts_live_passages(large: tuple[Snapshot, list[Passages]]) -> None:
    snapshot, segments = large
    for _ in range(2):  # the second time from memory
        for term in (0, 3, 99):
            count = sum(live and term in values for segment in segments for values, live in segment.values())
            assert snapshot.dfs([term]) == [count]


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_a_large_collection_in_a_process_that_stays_loads_numba() -> None:
    code = """
import sys, threading
from store.kernel_loading import LARGE, expect_many_searches, kernel_for
assert kernel_for(10 * LARGE) is None
expect_many_searches()
assert kernel_for(LARGE - 1) is None
assert threading.active_count() == 1 and "numba" not in sys.modules
kernel_for(LARGE)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(60)
print(kernel_for(1).__name__)
"""
    assert in_a_new_process(code) == "store.kernel\n"


def test_without_numba_numpy_goes_on() -> None:
    code = """
import sys
sys.modules["numba"] = None  # what an import of something that is not installed comes to
from store.kernel_loading import LARGE, kernel_for, load_kernel
print(load_kernel(), kernel_for(LARGE))
"""
    assert in_a_new_process(code) == "False None\n"


def test_where_no_folder_can_be_written_to_the_kernel_is_compiled_all_the_same() -> None:
    code = """
import numpy as np
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []
from store import kernel
from store.kernel_loading import load_kernel
table = np.zeros((1, 1))
one = np.ones(1, np.int32)
kernel.fill(
    one, np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32), np.empty(0, np.float32), one, np.full(1, 2.5),
    np.zeros(1, np.int64), np.zeros(1, np.int64), table,
)
print(load_kernel(), kernel.fill.stats.cache_path, table)
"""
    assert in_a_new_process(code) == "True None [[2.5]]\n"
