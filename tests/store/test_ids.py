"""Sorted ids: what numpy's functions for sets say, without the hash table that they make of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from store import ids as module
from store.ids import belong, counted, distinct


@pytest.mark.parametrize("apart", [1, 11, 1000])
@pytest.mark.parametrize("many", [0, 1, 3000])
def test_the_same_as_numpy(many: int, apart: int) -> None:
    chance = np.random.default_rng(many + apart)
    given = chance.integers(-many, many * apart + 1, many)
    ids, counts = np.unique(given, return_counts=True)
    assert distinct(given).tolist() == ids.tolist()
    assert [part.tolist() for part in counted(given)] == [ids.tolist(), counts.tolist()]
    for some in (given, chance.integers(-many - 5, many * apart + 5, 2 * many + 3), given[:0], given[:1]):
        assert belong(some, ids).tolist() == np.isin(some, ids).tolist()


@pytest.mark.parametrize("asked", [10, 5000])
def test_a_table_is_made_of_many_ids_that_lie_close_only(monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    """Of others numpy makes a hash table: 300,000 ids take it a second."""
    made: list[Any] = []
    monkeypatch.setattr(module.np, "isin", lambda some, ids, **options: made.append(options) or some == some)
    for apart in (1, 100):
        belong(np.arange(asked), np.arange(0, 20_000 * apart, apart))
    assert made == ([{"kind": "table"}] if asked == 5000 else [])


def test_ids_as_far_apart_as_can_be() -> None:
    ids = np.array([-(2**63), 5, 2**63 - 1])
    assert belong(np.arange(5000), ids).nonzero()[0].tolist() == [5]
