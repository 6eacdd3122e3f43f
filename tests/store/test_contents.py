"""What passages hold, read passage by passage, against what the postings say of them."""

from __future__ import annotations

import numpy as np
import pytest

from store.contents import Contents


def test_sums_by_term_and_weights_are_those_of_the_formula() -> None:
    contents = Contents(
        places=np.array([0, 0, 1, 1, 1]),
        terms=np.array([3, 7, 3, 5, 7], dtype=np.int32),
        values=np.array([1, 4, 2, 1, 1], dtype=np.float32),
    )
    ids, sums = contents.summed(np.array([0.5, 2.0]))
    assert dict(zip(ids.tolist(), sums.tolist(), strict=True)) == {3: 4.5, 5: 2.0, 7: 4.0}
    weights = contents.bm25_weights(count=2, average=4.5, k1=1.2, b=0.75)
    lengths = [5, 5, 4, 4, 4]
    expected = [
        value / (value + 1.2 * (1 - 0.75 + 0.75 * length / 4.5))
        for value, length in zip(contents.values.tolist(), lengths, strict=True)
    ]
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)
    ids, sums = contents.summed(np.array([1.0, 0.0]), weights)
    assert sums.tolist() == pytest.approx([expected[0], 0, expected[1]], rel=1e-6)


def test_passages_without_terms_hold_nothing() -> None:
    empty = Contents(
        places=np.empty(0, np.int64), terms=np.empty(0, dtype=np.int32), values=np.empty(0, dtype=np.float32)
    )
    ids, sums = empty.summed(np.array([1.0]), empty.bm25_weights(count=1, average=0.0, k1=1.2, b=0.75))
    assert len(ids) == len(sums) == 0
