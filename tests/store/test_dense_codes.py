"""The codebook, which may never change, and the scan over codes against their meaning in plain numpy."""

from __future__ import annotations

import gc
import hashlib
import itertools

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import Float32Array, IndexKind
from store import fastscan, scan, stack
from store.fastscan import FastScan, list_count, make_lists
from store.graph import Graph, Mask, make_graph
from store.quantizer import Quantizer, UInt8Array, quantizer
from store.scan import codes_of
from store.segments.merging import Merge
from store.stack import Stack
from tests.store.test_dense import part_of, scan_of, vectors_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)  # as everywhere in the store; a graph is the same each time only so


def unit(rows: int, dimension: int, seed: int = 0) -> Float32Array:
    vectors = np.random.RandomState(seed).standard_normal((rows, dimension))
    found: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def decoded(used: Quantizer, codes: UInt8Array) -> Float32Array:
    """(rows, width) what the codes stand for, by their definition: two to a byte, the first in the lower half."""
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, : used.width // 2]
    return used.points[np.arange(used.width // 2), halves].reshape(len(codes), used.width)


@pytest.mark.parametrize(("dimension", "digest"), [(7, "52addcb8b8fabe94"), (384, "0d808c91987db41a")])
def test_the_codebook_is_the_same_for_ever(dimension: int, digest: str) -> None:
    used = quantizer(dimension)
    vectors = unit(50, dimension)
    content = used.rotation.astype("<f4").tobytes() + used.points.astype("<f4").tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == digest
    nearest = ((used.rotate(vectors).reshape(50, -1, 1, 2) - used.points) ** 2).sum(axis=3)
    chosen = np.take_along_axis(nearest, _halves(used, used.encode(vectors))[:, :, None], axis=2)[:, :, 0]
    assert chosen == pytest.approx(nearest.min(axis=2), abs=1e-6)


def _halves(used: Quantizer, codes: UInt8Array) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
    return halves[:, : used.width // 2].astype(np.int64)


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 100, 384])
def test_codes_of_any_dimension(dimension: int) -> None:
    used, vectors = quantizer(dimension), unit(500, dimension)
    assert used.rotation @ used.rotation.T == pytest.approx(np.eye(dimension), abs=1e-5)
    codes = used.encode(vectors)
    assert codes.shape == (500, (dimension + 3) // 4)
    error = ((decoded(used, codes) @ used.rotation.T - vectors) ** 2).sum(axis=1).mean()
    assert error < (0.112 if dimension >= 100 else 0.2)
    if dimension >= 100:
        assert error > 0.102  # what the bound of a score rests on
        lopsided = vectors**3  # few large coordinates, as some models have them
        lopsided /= np.linalg.norm(lopsided, axis=1, keepdims=True)
        again = ((decoded(used, used.encode(lopsided)) @ used.rotation.T - lopsided) ** 2).sum(axis=1).mean()
        assert 0.102 < again < 0.118
    assert (used.encode(vectors * 3) != codes).mean() < 1e-3
    assert np.isfinite(decoded(used, used.encode(np.zeros((1, dimension), np.float32)))).all()


def test_the_bound_of_a_score() -> None:
    used, vectors, query = quantizer(384), unit(20_000, 384), unit(1, 384, seed=5)
    vectors[::2] = vectors[::2] * 0.8 + query * 0.6
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    true = vectors @ query[0]
    coded = decoded(used, used.encode(vectors)) @ used.rotate(query)[0]
    above = true > used.reach(coded.astype(np.float32), 1.0)
    for half in (above[::2], above[1::2]):
        assert 0.002 < half.mean() < 0.04  # about 2.25 standard deviations, on one side: 0.012
    longer = used.reach(coded.astype(np.float32), 3.0)
    assert longer == pytest.approx(3 * used.reach(coded.astype(np.float32), 1.0), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 700), count=st.sampled_from([1, 10, 100, 1000]), data=st.data())
def test_a_scan_is_that_of_the_codes(seed: int, rows: int, count: int, data: st.DataObject) -> None:
    used, vectors, query = quantizer(32), unit(rows, 32, seed), unit(1, 32, seed + 1)
    codes = used.encode(vectors)
    lists = centroids = None
    if data.draw(st.booleans()):
        centroids = unit(5, 32, seed + 2)
        lists = np.random.RandomState(seed).randint(0, 5, rows).astype(np.uint16)
    scan = FastScan(used, codes, lists, np.zeros((1, 32), np.float32) if centroids is None else centroids)
    share = data.draw(st.sampled_from([None, 0.0, 0.02, 0.5]))
    mask = np.ones(rows, dtype=bool) if share is None else np.random.RandomState(seed).random_sample(rows) < share
    read = np.arange(scan.lists) if lists is None or data.draw(st.booleans()) else np.array([3, 0])
    if lists is not None:
        mask &= np.isin(lists, read)
    ((found, scores),) = Stack([scan]).search(used.rotate(query), count, read, None if share is None else {0: mask})
    exact = decoded(used, codes) @ used.rotate(query)[0]
    assert len(set(found.tolist())) == len(found) == min(count, mask.sum())
    assert mask[found].all()
    assert scores == pytest.approx(exact[found], abs=0.03)  # the tables have eight bits
    left_out = np.setdiff1d(np.flatnonzero(mask), found)
    if len(left_out):
        assert exact[left_out].max() <= exact[found].min() + 0.06


def test_lists_are_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_count(fastscan.LISTED_ROWS - 1) == 1
    assert list_count(1_000_000) == 800
    monkeypatch.setattr(fastscan, "LISTED_ROWS", 1000)
    used, vectors = quantizer(32), unit(2500, 32)
    lists, centroids = make_lists(used, 2500, lambda: iter(np.array_split(vectors, 7)))
    assert lists.dtype == np.uint16
    assert (lists.shape, centroids.shape) == ((2500,), (108, 32))
    again, same = make_lists(used, 2500, lambda: iter(np.array_split(vectors, 7)))
    assert (again == lists).all()
    assert (same == centroids).all()
    assert (lists == (used.rotate(vectors) @ centroids.T).argmax(axis=1)).mean() > 0.999
    scan = FastScan(used, used.encode(vectors), lists, centroids)
    direction = used.rotate(vectors[:1])
    one = Stack([scan])
    assert one.near(direction) == pytest.approx(centroids @ direction[0], abs=1e-6)
    near = np.argsort(-(centroids @ direction[0]))
    for count, read in ((20, near[:4]), (200, near[:20]), (5, near[:0])):
        ((rows, _),) = one.search(direction, count, read)
        assert set(lists[rows].tolist()) <= set(read.tolist())
        assert len(rows) == min(count, np.isin(lists, read).sum())
        assert not len(read) or 0 in rows
    assert len(one.search(direction, 2500, near)[0][0]) == 2500
    assert scan.spread == pytest.approx(((centroids - centroids.mean(axis=0)) ** 2).sum(axis=1).mean(), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([1, 30, 400, 5000]), data=st.data())
def test_a_stack_is_one_scan_over_all_of_them(seed: int, count: int, data: st.DataObject) -> None:
    used, chance = quantizer(32), np.random.RandomState(seed)
    sizes = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=5))
    scans, exact, lists = [], [], []
    direction = used.rotate(unit(1, 32, seed + 9))
    for number, rows in enumerate(sizes):
        codes = used.encode(unit(rows, 32, seed + number))
        many = bool(chance.randint(2))
        lists.append(chance.randint(0, 4 if many else 1, rows))
        held = lists[-1].astype(np.uint16) if many else None
        scans.append(FastScan(used, codes, held, unit(4 if many else 1, 32, seed)))
        exact.append(decoded(used, codes) @ direction[0])
    begins = sorted((scan.begin, scan.begin + scan.rows) for scan in scans)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(begins))
    one = Stack(scans)
    assert [span.stop - span.start for span in one.spans] == [scan.lists for scan in scans]
    read = np.flatnonzero(chance.random_sample(one.lists) < 0.7)
    masks = {place: chance.random_sample(rows) < 0.6 for place, rows in enumerate(sizes) if chance.randint(4)}
    masked = data.draw(st.booleans())
    may = [np.isin(numbers + span.start, read) for numbers, span in zip(lists, one.spans, strict=True)]
    if masked:
        may = [here & masks.get(place, np.zeros(len(here), dtype=bool)) for place, here in enumerate(may)]
    found = one.search(direction, count, read, masks if masked else None)
    assert sum(len(rows) for rows, _ in found) == min(count, sum(here.sum() for here in may))
    for (named, scores), here, scored in zip(found, may, exact, strict=True):
        assert here[named].all()
        assert (np.diff(named) > 0).all()
        assert scores == pytest.approx(scored[named], abs=0.03)
    others = [
        FastScan(used, used.encode(unit(rows, 32, seed + place)), where.astype(np.uint16), scan.centroids)
        for place, (rows, where, scan) in enumerate(zip(sizes, lists, scans, strict=True))
    ]
    assert not {scan.begin for scan in scans} & {scan.begin for scan in others}
    again = Stack(others).search(direction, count, read, masks if masked else None)
    for (rows_here, scores), (rows_there, same) in zip(found, again, strict=True):  # whatever numbers rows have
        assert (rows_here.tolist(), scores.tolist()) == (rows_there.tolist(), same.tolist())
    left_out = [s[np.setdiff1d(np.flatnonzero(m), r)] for s, m, (r, _) in zip(exact, may, found, strict=True)]
    taken = [s[r] for s, (r, _) in zip(exact, found, strict=True)]
    if sum(map(len, left_out)):
        assert np.concatenate(left_out).max() <= np.concatenate(taken).min() + 0.06


def test_numbers_of_rows_are_given_again() -> None:
    numbers = fastscan._Numbers()
    assert [numbers.take(count) for count in (10, 8, 1, 100)] == [0, 16, 24, 32]
    numbers.give_back(16)
    assert numbers.take(9) == 136  # 8 are free, no 9
    assert numbers.take(8) == 16
    numbers.give_back(0)
    assert numbers.take(16) == 0
    assert [numbers.take(0), numbers.take(0)] == [152, 160]
    used = quantizer(32)
    before = dict(fastscan._numbers._ends)
    scan = FastScan(used, used.encode(unit(50, 32)), None, np.zeros((1, 32), np.float32))
    assert scan.begin in fastscan._numbers._ends.keys() - before.keys()
    del scan
    gc.collect()
    assert fastscan._numbers._ends.keys() <= before.keys()


def test_no_second_copy_of_the_codes_is_kept() -> None:
    used = quantizer(64)
    vectors = unit(2000, 64)
    scan = FastScan(used, used.encode(vectors), None, np.zeros((1, 64), np.float32))
    assert not getattr(scan._packed, "referenced_objects", None)  # FAISS's wrapper would keep what it was made of
    gc.collect()
    ((rows, _),) = Stack([scan]).search(used.rotate(vectors[:1]), 5, np.array([0]))
    assert 0 in rows


def test_a_graph() -> None:
    used, vectors = quantizer(31), unit(800, 31)
    stored = make_graph(used, np.array_split(vectors, 4))
    stored.flags.writeable = False  # as it is over a file
    found = Graph(stored)
    removed = np.zeros(800, dtype=bool)
    removed[::20] = True
    hits = 0
    for query in unit(30, 31, seed=3):
        rows, scores = found.search(used.rotate(query[None]), 10, Mask(~removed))
        assert not removed[rows].any()
        assert scores == pytest.approx(vectors[rows] @ query, abs=0.03)
        true = np.where(removed, -1, vectors @ query)
        hits += len(np.intersect1d(np.argsort(-true)[:10], rows))
    assert hits >= 280
    assert make_graph(used, np.array_split(vectors, 4)).tobytes() == stored.tobytes()


def test_a_scan_that_finds_wrong_rows_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stack.unusable.cache_clear()
    try:
        assert stack.unusable() is None
        stack.unusable.cache_clear()
        monkeypatch.setattr(Stack, "search", lambda *_, **__: [(np.arange(100), np.zeros(100, np.float32))])
        assert stack.unusable() == "the scan over codes finds wrong rows here"
    finally:
        stack.unusable.cache_clear()


def test_what_has_no_codes() -> None:
    vectors = vectors_of(3000, 1)
    assert scan_of(vectors[: scan.CODED_ROWS - 1]) is None
    assert scan_of(vectors[: scan.CODED_ROWS]) is not None
    assert scan_of(vectors, IndexKind.EXACT) is None


def test_a_merge_copies_codes() -> None:
    first, second = part_of(vectors_of(2000, 1), 5000), part_of(vectors_of(1000, 2), 0)
    merge = Merge([(first.segment, first.live), (second.segment, second.live)])
    copied = np.concatenate(list(merge.gather(lambda segment: codes_of(segment.vectors, segment.scan))))
    anew = np.concatenate([codes_of(block, None) for block in merge.gather(lambda segment: segment.vectors)])
    assert np.mean(copied != anew) < 1e-3  # a last bit may differ with the size of a block
    assert first.segment.scan is not None
    assert codes_of(first.segment.vectors, first.segment.scan) is first.segment.scan.codes
