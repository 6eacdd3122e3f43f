"""Sets of documents: which of some documents belong to one, and what asking that takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from store import ids as module
from store.filters.sql import Documents


@pytest.mark.parametrize("asked", [0, 1, 5, 40])
@pytest.mark.parametrize("held", [0, 1, 5, 40])
@pytest.mark.parametrize("others", [False, True])
def test_what_a_set_holds(monkeypatch: pytest.MonkeyPatch, asked: int, held: int, others: bool) -> None:
    """Asked for few and for many, which are found in different ways; in any order, and below and above all ids."""
    chance = np.random.default_rng(asked * 100 + held)
    documents = chance.integers(-2, 60, asked)
    ids = np.sort(chance.choice(50, held, replace=False)).astype(np.int64)
    expected = [(number in set(ids.tolist())) is not others for number in documents.tolist()]
    for few in (0, 100):
        monkeypatch.setattr(module, "_FEW", few)
        assert Documents(ids, others).holds(documents).tolist() == expected


@pytest.mark.parametrize("apart", [1, 10])
def test_to_ask_for_few_does_not_take_all_of_a_large_set(apart: int) -> None:
    """A filtered page asks a thousand times. What is made meanwhile is counted, as time is not the same everywhere."""
    found = Documents(np.arange(0, 1_000_000 * apart, apart, dtype=np.int64))
    documents = np.arange(1_000, dtype=np.int64)
    tracemalloc.start()
    try:
        found.holds(documents)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000
