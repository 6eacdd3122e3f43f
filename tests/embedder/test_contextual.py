import numpy as np
import pytest

from embedder.contextual import spread_factors

# Cosines to the first vector: 1, 0.6, 0, 1.
VECTORS = np.array([[1, 0], [0.6, 0.8], [0, 1], [2, 0]], dtype=np.float32)
ALL = np.ones(4, dtype=np.bool_)


@pytest.mark.parametrize("factor", [0.0, 0.1, 7.0])
def test_factors_spread_by_similarity(factor: float) -> None:
    spread = spread_factors(np.array([factor, 1, 1, 1.0]), VECTORS, 0.5, ALL)
    assert spread == pytest.approx([factor, (1 - factor) * 0.4 + factor, 1, factor], abs=1e-6)


def test_a_threshold_above_the_similarity_leaves_a_token_alone() -> None:
    assert spread_factors(np.array([0.0, 1, 1, 1]), VECTORS, 0.7, ALL) == pytest.approx([0, 1, 1, 0])


def test_an_explicit_factor_beats_a_contextual_one() -> None:
    spread = spread_factors(np.array([0.0, 1, 1, 3.0]), VECTORS, 0.0, ALL)
    assert spread[3] == 3.0


def test_special_tokens_and_stop_words_stay_out_on_both_sides() -> None:
    eligible = np.array([True, False, True, True])
    assert spread_factors(np.array([0.0, 1, 1, 1]), VECTORS, 0.5, eligible)[1] == 1
    eligible = np.array([False, True, True, True])
    assert spread_factors(np.array([0.0, 1, 1, 1]), VECTORS, 0.5, eligible).tolist() == [0, 1, 1, 1]
