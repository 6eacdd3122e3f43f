"""The significance test against every sign written out, and against what it must say of nothing but luck."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.significance import compare, holm, randomisation


@given(st.lists(st.sampled_from([-0.5, -0.25, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
def test_few_queries_are_gone_through_one_by_one(differences: list[float]) -> None:
    seen = abs(sum(differences))
    signs = list(itertools.product((-1, 1), repeat=len(differences)))
    slow = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) >= seen - 1e-12 for sign in signs]
    assert randomisation(np.array(differences)) == pytest.approx(sum(slow) / len(signs))


def test_many_queries_are_drawn_and_agree_with_the_normal_curve() -> None:
    differences = np.random.default_rng(3).normal(0.02, 0.1, 200)
    z = differences.sum() / np.sqrt((differences**2).sum())
    curve = 2 * float(np.mean(np.random.default_rng(4).normal(size=400_000) > z))
    assert randomisation(differences) == pytest.approx(curve, abs=0.005)
    assert randomisation(differences) == randomisation(differences)


def test_of_luck_alone_one_in_twenty_is_called_significant() -> None:
    draw = np.random.default_rng(5)
    found = [randomisation(draw.normal(0, 1, 12)) < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(found) < 0.09


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.9])), [1.0, 1.0])


def test_runs_are_compared_pair_by_pair() -> None:
    queries = np.linspace(0.1, 0.6, 30)
    found = compare({"dense": list(queries), "sparse": list(queries), "hybrid": list(queries + 0.1)})
    assert [(c.better, c.worse) for c in found] == [("dense", "sparse"), ("hybrid", "dense"), ("hybrid", "sparse")]
    assert [c.significant for c in found] == [False, True, True]
    assert found[0].p == 1.0
    assert found[1].difference == pytest.approx(0.1)
