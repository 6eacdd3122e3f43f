"""What order candidates come in."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from store.pool import best, ranking

SCORES = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0]) | st.floats(-2, 2), max_size=60)


@given(SCORES, st.integers(0, 70), st.randoms())
def test_falling_scores_and_rising_ids_equal_the_slow_version(values: list[float], k: int, random: Random) -> None:
    ids = np.array(random.sample(range(1000), len(values)), dtype=np.int64)
    scores = np.array(values, dtype=np.float64)
    slow = sorted(range(len(values)), key=lambda i: (-values[i], ids[i]))
    assert ranking(ids, scores).tolist() == slow
    pool = best(ids, scores, k)
    assert pool.ids.tolist() == ids[slow[:k]].tolist()
    assert pool.scores.tolist() == scores[slow[:k]].tolist()


def test_many_equals_among_many() -> None:
    """numpy sorts a long array by other means than a short one."""
    random = np.random.default_rng(5)
    for kinds in (1, 2, 40, 100_000):
        scores = random.integers(0, kinds, 5_000) / kinds
        ids = random.permutation(50_000)[:5_000].astype(np.int64)
        assert ranking(ids, scores).tolist() == np.lexsort((ids, -scores)).tolist()
