"""The best of a pool, against sorting all of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from store.pool import best


@given(
    scores=st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.1, 0.1 + 1e-16, 0.25, 3.0]), max_size=60),
    k=st.integers(0, 70),
    seed=st.integers(0, 100),
)
def test_the_best_and_of_equals_the_smaller_ids(scores: list[float], k: int, seed: int) -> None:
    ids = np.random.default_rng(seed).permutation(1000)[: len(scores)]
    pool = best(ids, np.array(scores), k)
    expected = sorted(zip((-score for score in scores), ids.tolist(), strict=True))[:k]
    assert list(zip((-pool.scores).tolist(), pool.ids.tolist(), strict=True)) == expected
