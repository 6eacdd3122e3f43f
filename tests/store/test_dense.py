"""Nearest neighbours over segments with codes, lists and graphs, against the dot products in plain numpy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import Float32Array, Float64Array, IndexKind, Int64Array
from store import dense, fastscan, scan, stack
from store.candidates import Candidates, candidates
from store.pool import Pool
from store.scan import Scan, codes_of, open_scan, scan_arrays, stacked
from store.segments.postings import Postings
from store.segments.segment import Segment
from store.snapshot import Part
from store.stack import Stack

DIMENSION = 64


def vectors_of(rows: int, seed: int, *, dimension: int = DIMENSION) -> Float32Array:
    """Unit vectors in clusters, as those of texts are."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, dimension))
    vectors = centres[chance.integers(0, 40, rows)] + 0.8 * chance.standard_normal((rows, dimension))
    made: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def scan_of(vectors: Float32Array, kind: IndexKind = IndexKind.AUTO) -> Scan | None:
    def blocks() -> Iterator[Float32Array]:
        yield from np.array_split(vectors, 3)

    arrays = scan_arrays(len(vectors), blocks, iter([codes_of(vectors, None)]), kind)
    return open_scan(arrays, vectors.shape[1])


def nearest(
    parts: list[Part],
    query: Float32Array,
    k: int,
    allowed: Int64Array | None = None,
    *,
    kind: IndexKind = IndexKind.AUTO,
) -> Pool:
    """Over stacks that are made anew, as a snapshot makes them."""
    stacks = stacked(part.segment.scan for part in parts if part.segment.scan is not None)
    return dense.nearest(parts, query, k, allowed, kind=kind, stacks=stacks)


def part_of(
    vectors: Float32Array, first_id: int, *, kind: IndexKind | None = IndexKind.AUTO, removed: Int64Array | None = None
) -> Part:
    """`kind`: None for one in memory."""
    nothing = np.empty(0, np.int32)
    postings = Postings.build(nothing, nothing, np.empty(0, np.float32), row_count=len(vectors))
    ids = np.arange(first_id, first_id + len(vectors), dtype=np.int64)
    segment = Segment(
        ids=ids,
        documents=ids,
        vectors=vectors,
        largest_norm=float(np.linalg.norm(vectors, axis=1).max()),
        postings=postings,
        learned=postings,
        scan=None if kind is None else scan_of(vectors, kind),
    )
    live = np.ones(len(vectors), dtype=np.bool_)
    live[[] if removed is None else removed] = False
    return Part(
        segment=segment, sealed=None, live=live, live_count=int(live.sum()), saturations=np.empty(0, np.float32)
    )


def part_of_same(part: Part, removed: Int64Array) -> Part:
    """Over the same segment, without other rows."""
    live = np.ones(len(part.live), dtype=np.bool_)
    live[removed] = False
    return replace(part, live=live, live_count=int(live.sum()))


def oracle(parts: list[Part], query: Float32Array, allowed: Int64Array | None) -> dict[int, float]:
    """The score of every passage that may be found."""
    ids = np.concatenate([part.segment.ids[part.live] for part in parts])
    scores: Float64Array = np.concatenate(
        [part.segment.vectors[part.live].astype(np.float64) @ query.astype(np.float64) for part in parts]
    )
    wanted = np.ones(len(ids), dtype=np.bool_) if allowed is None else np.isin(ids, allowed)
    return dict(zip(ids[wanted].tolist(), scores[wanted].tolist(), strict=True))


def recall(parts: list[Part], query: Float32Array, k: int, allowed: Int64Array | None, pool: Pool) -> float:
    """Checks everything about the pool that must hold, and gives the share of the k best that it has."""
    exact = oracle(parts, query, allowed)
    ids = pool.ids.tolist()
    assert len(set(ids)) == len(ids) == min(k, len(exact))
    assert pool.scores == pytest.approx([exact[id_] for id_ in ids], abs=1e-12)
    assert [(-score, id_) for score, id_ in zip(pool.scores, ids, strict=True)] == sorted(
        (-score, id_) for score, id_ in zip(pool.scores, ids, strict=True)
    )
    best = sorted(exact, key=lambda id_: (-exact[id_], id_))[:k]
    return len(set(best) & set(ids)) / len(best) if best else 1.0


@pytest.fixture(autouse=True)
def _scan_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "EXACT_PASSAGES", 0)
    monkeypatch.setattr(dense, "EXACT_MATCHES", 100)
    monkeypatch.setattr(dense, "_MORE", 30)
    monkeypatch.setattr(dense, "_MORE_FILTERED", 60)


@pytest.fixture(scope="module", params=["one list", "lists", "hnsw"])
def parts(request: pytest.FixtureRequest) -> list[Part]:
    """Two sealed segments with removed passages, and a tail."""
    kind = IndexKind.HNSW if request.param == "hnsw" else IndexKind.AUTO
    removed = np.arange(0, 4000, 50)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "lists":
            patch.setattr(fastscan, "LISTED_ROWS", 2000)
        return [
            part_of(vectors_of(4000, 1), 1000, kind=kind, removed=removed),
            part_of(vectors_of(3000, 2), 5000, kind=kind),
            part_of(vectors_of(300, 3), 8000, kind=None, removed=removed[:3]),
        ]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[Candidates]:
    """What the segments named, each time that they were asked."""
    named: list[Candidates] = []

    def noted(*given: Any, **how: Any) -> Candidates:
        named.append(candidates(*given, **how))
        return named[-1]

    monkeypatch.setattr(dense, "candidates", noted)
    return named


def test_nearly_all_of_the_best_are_found_and_scored_exactly(parts: list[Part], named: list[Candidates]) -> None:
    for k in (1, 10, 200):
        found = []
        for query in vectors_of(20, 9):
            pool = nearest(parts, query, k, None)
            found.append(recall(parts, query, k, None, pool))
            again = nearest(parts, query, k, None)
            assert (again.ids.tobytes(), again.scores.tobytes()) == (pool.ids.tobytes(), pool.scores.tobytes())
        assert np.mean(found) >= 0.98, k
    assert len(named) >= 3 * 2 * 20
    assert all(sorted(found.spans) == [0, 1] for found in named)  # the tail can name none
    assert np.median([len(found.rows) for found in named]) < 700


def test_what_hardly_reaches_the_best_is_not_scored(
    parts: list[Part], named: list[Candidates], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what may reach them is, however many candidates there are."""
    if any(part.mask for part in parts):
        return  # a graph says of none how far it reaches
    scored: list[int] = []
    products = dense.products

    def counted(pieces: Any, vector: Float32Array) -> Float64Array:
        scored.append(sum(len(rows) for _, rows in pieces))
        return products(pieces, vector)

    monkeypatch.setattr(dense, "products", counted)
    shares = []
    for query in vectors_of(20, 23):
        scored.clear()
        pool = nearest(parts, query, 100, None)
        for number, rows in named[-1].by_part(named[-1].reach >= pool.scores[-1]).items():
            segment = parts[number].segment
            better = products([(segment.vectors, rows)], query) > pool.scores[-1]
            assert set(segment.ids[rows][better].tolist()) <= set(pool.ids.tolist())
        shares.append(sum(scored) / len(named[-1].rows))
    assert np.median(shares) < 0.8


def test_lists_that_are_far_from_the_query_are_not_read(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    if not all(part.segment.scan is None or part.segment.scan.fast.lists > 1 for part in parts):  # type: ignore[union-attr]
        return  # one list, or a graph: nothing to leave out
    stack_search, read = Stack.search, []

    def noted(self: Stack, direction: Float32Array, count: int, lists: Int64Array, masks: Any) -> Any:
        read.append(len(lists) / self.lists)
        return stack_search(self, direction, count, lists, masks)

    monkeypatch.setattr(Stack, "search", noted)
    half = np.flatnonzero(np.arange(4000) % 2)
    thinned = [part_of(vectors_of(4000, 1), 1000, removed=half), *parts[1:]]
    for kept in (parts, thinned):  # removed passages, however many, are no reason to read more
        for query in vectors_of(10, 21):
            nearest(kept, query, 10, None)
    assert 0 < np.mean(read) < 0.5
    read.clear()
    nearest(parts, vectors_of(1, 22)[0], 10, np.arange(1000, 6000))
    assert set(read) == {1.0}  # a filter has all of them read


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.001, 0.02, 0.2, 0.6]), k=st.sampled_from([1, 10, 300]))
def test_filters_never_cost_a_passage(parts: list[Part], seed: int, share: float, k: int) -> None:
    chance = np.random.default_rng(seed)
    query = vectors_of(1, seed)[0]
    exact = oracle(parts, query, None)
    ids = np.array(sorted(exact), dtype=np.int64)
    scores = np.array([exact[id_] for id_ in ids.tolist()])
    count = max(1, int(share * len(ids)))
    random = np.sort(chance.choice(ids, count, replace=False))
    farthest, closest = np.sort(ids[np.argsort(scores)[:count]]), np.sort(ids[np.argsort(-scores)[:count]])
    for allowed in (random, farthest, closest, np.array([1, 10**9])):
        pool = nearest(parts, query, k, allowed)
        missed = round((1 - recall(parts, query, k, allowed, pool)) * len(pool.ids))
        assert missed <= max(1, 0.3 * len(pool.ids))  # codes may miss the one that was asked for
    wrong = np.concatenate([random, ids[-1:] + 10_000])
    assert nearest(parts, query, k, wrong).ids.tolist() == nearest(parts, query, k, random).ids.tolist()


def test_filters_recall_as_well_as_no_filter(parts: list[Part]) -> None:
    found = []
    for number, query in enumerate(vectors_of(30, 11)):
        exact = oracle(parts, query, None)
        ids = np.array(sorted(exact, key=lambda id_: exact[id_]), dtype=np.int64)
        allowed = np.sort(ids[: len(ids) // 2] if number % 2 else ids[:: number + 2])
        pool = nearest(parts, query, 10, allowed)
        found.append(recall(parts, query, 10, allowed, pool))
    assert np.mean(found) >= 0.98


def test_where_most_are_not_to_be_seen_it_is_as_with_a_filter(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are live lie far from the query: the lists next to it hold none of them."""
    found, thorough = [], set()

    def noted(*given: Any, **how: Any) -> Candidates:
        thorough.add(how["thorough"])
        return candidates(*given, **how)

    monkeypatch.setattr(dense, "candidates", noted)
    for query in vectors_of(10, 19):
        far = [np.argsort(part.segment.vectors @ query)[: len(part.live) * 2 // 5] for part in parts]
        thinned = [
            part_of_same(part, np.setdiff1d(np.arange(len(part.live)), some))
            for part, some in zip(parts, far, strict=True)
        ]
        found.append(recall(thinned, query, 10, None, nearest(thinned, query, 10, None)))
    assert np.mean(found) >= 0.98
    assert thorough == {True}


@pytest.mark.parametrize("kind", list(IndexKind))
def test_exact_where_it_is_asked_for_or_passages_are_few(
    parts: list[Part], kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "EXACT_PASSAGES", 10_000)
    monkeypatch.setattr(dense, "candidates", None)  # nobody may ask for them
    for query in vectors_of(5, 12):
        pool = nearest(parts, query, 50, None, kind=kind)
        assert recall(parts, query, 50, None, pool) == 1
    monkeypatch.setattr(dense, "EXACT_PASSAGES", 0)
    for query in vectors_of(5, 13):
        pool = nearest(parts, query, 50, None, kind=IndexKind.EXACT)
        assert recall(parts, query, 50, None, pool) == 1


def test_what_is_removed_near_the_query_hides_nothing(parts: list[Part]) -> None:
    """The passages that the codes would name are gone, all of them, but few of the segment: no mask is made."""
    query = vectors_of(1, 17)[0]
    first, *others = parts
    near = np.argsort(-(first.segment.vectors @ query))[:300]
    thinned = part_of_same(first, np.union1d(np.flatnonzero(~first.live), near))
    for k in (1, 10):
        for some in ([thinned], [thinned, *others]):
            assert recall(some, query, k, None, nearest(some, query, k)) >= (0.7 if first.mask else 0.9)


def test_stacks_are_of_one_length() -> None:
    scans = [scan_of(vectors_of(1000, seed) * np.float32(length)) for seed, length in enumerate((1, 2, 1.01, 2.5))]
    found = [[scan.length for scan in scans if scan and scan.fast in one.scans] for one in stacked(filter(None, scans))]
    assert [[round(length, 2) for length in lengths] for lengths in found] == [[1.0, 1.01], [2.0], [2.5]]


def test_vectors_of_other_lengths() -> None:
    vectors = vectors_of(3000, 4)
    vectors[7], vectors[100], vectors[2999] = 0, vectors[100] * 30, vectors[2999] * 0.5
    parts = [part_of(vectors, 0, removed=np.array([2998]))]
    assert parts[0].segment.scan is not None
    query = vectors[100] / 30
    pool = nearest(parts, query, 10, None)
    assert pool.ids[0] == 100
    assert pool.scores[0] == pytest.approx(30, rel=1e-5)
    away = nearest(parts, -query, 5, np.array([5, 6, 7, 8, 100, *range(200, 500)]))
    assert recall(parts, -query, 5, np.array([5, 6, 7, 8, 100, *range(200, 500)]), away) >= 0.8
    assert 100 not in away.ids
    doubled = vectors_of(3000, 4) * 2
    parts = [part_of(doubled, 0), part_of(vectors_of(3000, 5), 3000)]  # scores of two segments are put side by side
    assert np.mean([recall(parts, q, 10, None, nearest(parts, q, 10, None)) for q in vectors_of(20, 6)]) >= 0.98
    doubled[::2] /= 2
    assert scan_of(doubled) is None  # half of them of another length: all are read


def test_a_machine_without_simd(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    level = faiss.SIMDConfig.get_level()
    try:
        faiss.SIMDConfig.set_level(faiss.SIMDLevel_NONE)
        stack.unusable.cache_clear()
        scan._warned.cache_clear()
        with caplog.at_level(logging.WARNING):
            parts = [part_of(vectors_of(2000, 1), 0), part_of(vectors_of(2000, 2), 2000, kind=IndexKind.HNSW)]
        assert len([record for record in caplog.records if "no SIMD" in record.message]) == 1
        assert parts[0].segment.scan is None
        assert parts[1].segment.scan is not None
        for query in vectors_of(5, 12):
            assert recall(parts[:1], query, 10, None, nearest(parts[:1], query, 10, None)) == 1
            allowed = np.arange(500, 3000)
            assert recall(parts, query, 10, allowed, nearest(parts, query, 10, allowed)) == 1
            assert recall(parts, query, 10, None, nearest(parts, query, 10, None)) >= 0.8
    finally:
        faiss.SIMDConfig.set_level(level)
        stack.unusable.cache_clear()
        scan._warned.cache_clear()
    assert stack.unusable() is None
