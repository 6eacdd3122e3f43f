"""Segments merged into one file: in bounded memory, the same in blocks of any size."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from core.records import IndexKind, Int32Array
from store.arrayfile import open_file
from store.directory import SEGMENTS
from store.quantizer import quantizer
from store.segments import merging
from store.segments.files import new_file
from store.segments.merging import Merge
from store.segments.postings import Postings
from store.segments.segment import Segment


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
        name, seal = new_file(tmp_path, Merge([(segment, np.ones(5_000, np.bool_))]), IndexKind.EXACT)
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
    new_file(tmp_path, Merge([(segment, segment.ids % 100 != 0) for segment in four]), IndexKind.EXACT)
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
    name, seal = new_file(tmp_path, Merge(parts), kind)
    arrays = open_file(tmp_path / SEGMENTS / name, seal)
    stored = {part for part in arrays if part.startswith("scan.")}
    assert ("scan.codes" in stored) == (kind is not IndexKind.EXACT)
    assert ("scan.graph" in stored) == (kind is IndexKind.HNSW)
    if kind is not IndexKind.EXACT:
        assert arrays["scan.codes"].tolist() == quantizer(16).encode(arrays["vectors"]).tolist()


def _term_of_each(postings: Postings) -> Int32Array:
    """(postings,) the term of every posting."""
    return np.repeat(postings.terms, np.diff(postings.offsets))
