"""Contextual controls, by example and against a slow reading of their definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_most_similar_controlled_token_decides_from_the_threshold_on() -> None:
    vectors = np.array([[1, 0], [3, 4], [0, 1]], dtype=np.float32)  # of length 5: 0.6 to the first, 0.8 to the last
    factors, all_of_them = np.array([0.0, 1, 3]), np.ones(3, dtype=np.bool_)
    at = float(np.float32(0.8))
    assert spread_factors(factors, vectors, at, all_of_them) == pytest.approx([0, 3 - 2 * (1 - at), 3], abs=1e-6)
    above = math.nextafter(at, 1)
    assert spread_factors(factors, vectors, above, all_of_them).tolist() == [0, 1, 3]


def test_no_token_counts_less_than_not_at_all() -> None:
    """Under a negative threshold an opposite of what is to count three times would count -3 times."""
    vectors = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert spread_factors(np.array([3.0, 1]), vectors, -1.0, np.ones(2, dtype=np.bool_)).tolist() == [3, 0]
    assert spread_factors(np.array([0.0, 1]), vectors, -1.0, np.ones(2, dtype=np.bool_)).tolist() == [0, 2]


Token = tuple[float, float, float, bool]  # its factor, its word vector, whether it is eligible
numbers = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0])
tokens = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0]), numbers, numbers, st.booleans())


@given(st.lists(tokens, min_size=1, max_size=6), st.sampled_from([-1.0, -0.45, 0.0, 0.45, 0.65, 0.95]))
def test_spread_factors_equal_the_slow_definition(case: list[Token], threshold: float) -> None:
    found = spread_factors(
        np.array([factor for factor, *_ in case]),
        np.array([vector for _, *vector, _ in case], dtype=np.float32),
        threshold,
        np.array([eligible for *_, eligible in case]),
    )
    for place, value in enumerate(found):
        assert any(value == pytest.approx(allowed, abs=1e-5) for allowed in slow_factors(case, place, threshold))


def slow_factors(case: list[Token], place: int, threshold: float) -> list[float]:
    """What the token may have; several where controlled ones of different factors are equally similar."""
    factor, x, y, eligible = case[place]
    if factor != 1 or not eligible:
        return [factor]
    cosines = []
    for other, other_x, other_y, counts in case:
        if counts and other != 1:
            lengths = math.hypot(x, y) * math.hypot(other_x, other_y)
            cosines.append(((x * other_x + y * other_y) / lengths if lengths else 0.0, other))
    most = max((cosine for cosine, _ in cosines), default=-math.inf)
    nearest = [(cosine, other) for cosine, other in cosines if cosine > most - 1e-6]
    if most < threshold - 1e-6:
        return [1.0]
    return [max(0.0, (1 - other) * (1 - cosine) + other) for cosine, other in nearest]
