"""The formulas, by a worked example and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import bm25


def test_a_worked_example() -> None:
    # "to be or not to be" among passages of 6, 3 and 3 terms: N = 3, average length 4; "be" is in two of them.
    assert bm25.idf(3, 2) == pytest.approx(math.log(1 + 1.5 / 2.5))
    saturation = bm25.saturation(np.array([6.0, 3.0]), 4.0, k1=1.2, b=0.75)
    assert saturation == pytest.approx([1.2 * (0.25 + 0.75 * 1.5), 1.2 * (0.25 + 0.75 * 0.75)])
    weights = bm25.weights(np.array([2, 1], np.float32), saturation)
    assert weights == pytest.approx([2 / 3.65, 1 / 1.975])


@given(passages=st.integers(1, 10**9), share=st.floats(0, 1))
def test_idf_is_positive_and_falls(passages: int, share: float) -> None:
    df = max(1, int(passages * share))
    assert bm25.idf(passages, df) > 0
    assert df == 1 or bm25.idf(passages, df - 1) > bm25.idf(passages, df)


@given(tf=st.integers(1, 1000), length=st.integers(1, 1000), k1=st.floats(0, 10), b=st.floats(0, 1))
def test_weights_are_above_0_and_at_most_1(tf: int, length: int, k1: float, b: float) -> None:
    saturation = bm25.saturation(np.array([float(length)]), 50.0, k1=k1, b=b)
    weight = bm25.weights(np.array([tf], np.float32), saturation)[0]
    assert 0 < weight <= 1
    assert bm25.weights(np.array([tf + 1], np.float32), saturation)[0] >= weight * (1 - 2**-22)  # float32


def test_passages_without_terms_have_no_length() -> None:
    assert bm25.saturation(np.zeros(2), 0.0, k1=1.2, b=0.75).tolist() == pytest.approx([1.2, 1.2])
