"""What numpy gathers for the sparse legs at once, or looks up term by term: all the same, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import sparse
from store.snapshot import Snapshot
from tests.store.test_sparse_kernel import TERMS, a_passage, a_query, by, oracle, pairs, ranked, snapshot_of

some_passages = st.lists(st.lists(a_passage, min_size=1, max_size=12), max_size=4)


def numbered(segments: list[list[tuple[dict[int, float], bool]]]) -> list[dict[int, tuple[Mapping[int, float], bool]]]:
    """Passages with ids that lie between those of other segments."""
    return [
        {1 + number + len(segments) * row: passage for row, passage in enumerate(segment)}
        for number, segment in enumerate(segments)
    ]


def live_ids(snapshot: Snapshot) -> list[int]:
    return sorted(id_ for part in snapshot.parts for id_ in part.segment.ids[part.live].tolist())


@settings(deadline=None, max_examples=150)
@given(some_passages, a_query, st.integers(1, 5), st.sampled_from([1, 3, 2**18]), st.sampled_from([0, 300]))
def test_blocks_and_look_ups_give_the_same_sums_and_products(
    drawn: list[list[tuple[dict[int, float], bool]]], terms: list[tuple[int, float]], k: int, at_once: int, worth: int
) -> None:
    segments = numbered(drawn)
    snapshot = snapshot_of(segments)
    expected = ranked(oracle(snapshot, segments, terms, learned=False), k)
    ids = np.array(live_ids(snapshot)[::-1], dtype=np.int64)
    with by("kernel"):
        table = sparse.products(snapshot, sparse.bm25_weights, terms, ids)
    with by("numpy"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "_AT_ONCE", at_once)
        patch.setattr(sparse, "_WORTH_A_CALL", worth)
        patch.setattr(sparse, "_WORTH_A_LOOK", 0)
        assert pairs(sparse.matching(snapshot, sparse.bm25_weights, terms, k, None)) == expected
        for located in (None, snapshot.locate(ids)):
            found = sparse.products(snapshot, sparse.bm25_weights, terms, ids, located)
            assert found.tobytes() == table.tobytes()


@settings(deadline=None)
@given(some_passages, st.lists(st.integers(0, TERMS + 2), max_size=9, unique=True), st.integers(1, 9))
def test_never_more_than_some_postings_are_held_at_once(
    drawn: list[list[tuple[dict[int, float], bool]]], terms: list[int], at_once: int
) -> None:
    snapshot = snapshot_of(numbered(drawn))
    spans = sparse._Spans.of(snapshot, sparse.learned_weights, np.array(terms, dtype=np.int32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "_AT_ONCE", at_once)
        blocks = list(spans.postings())
    assert all(len(found.rows) == len(found.columns) == len(found.weights) <= at_once for found in blocks)
    passages = [passage for segment in numbered(drawn) for _, (passage, _) in sorted(segment.items())]
    held = [(column, row) for column, term in enumerate(terms) for row, one in enumerate(passages) if term in one]
    read = [(int(column), int(row)) for found in blocks for column, row in zip(found.columns, found.rows, strict=True)]
    assert sorted(read) == held, "each one once"
    assert all(columns == sorted(columns) for columns in by_row(read).values()), "in the order of the terms"


def by_row(read: list[tuple[int, int]]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for column, row in read:
        rows.setdefault(row, []).append(column)
    return rows


@settings(deadline=None)
@given(some_passages, st.lists(st.integers(0, TERMS + 2), max_size=9))
def test_document_frequencies_are_those_of_live_passages(
    drawn: list[list[tuple[dict[int, float], bool]]], terms: list[int]
) -> None:
    snapshot = snapshot_of(numbered(drawn))
    held = [passage for segment in drawn for passage, live in segment if live]
    expected = [sum(term in passage for passage in held) for term in terms]
    for _ in range(2):  # the second time from memory
        assert snapshot.dfs(terms) == expected
