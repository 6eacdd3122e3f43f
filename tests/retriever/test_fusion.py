"""Fusion formulas against worked examples, slow versions and invariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import InvalidQuery
from core.records import Float64Array, Int64Array
from retriever.fusion import MAX_PARAMETER, Fusion, LegScores, collapse, fuse, min_max, usable_spread
from retriever.legs import Leg
from store.pool import ranking

RAW = st.floats(-1, 1).map(lambda x: round(x, 4))
CANDIDATES = st.lists(st.tuples(RAW, st.floats(0, 40).map(lambda x: round(x, 3))), max_size=12)
ALPHA = st.floats(0, 1)


def leg(raw: list[float], *, pool: int = 1000, everything: bool = False) -> LegScores:
    """A leg whose pool holds the best `pool` candidates: those above 0, or `everything`, as a dense leg does."""
    scores = np.array(raw, dtype=np.float64)
    ranks = np.zeros(len(raw), dtype=np.int64)
    for place, i in enumerate(np.argsort(-scores, kind="stable")[:pool], start=1):
        ranks[i] = place if everything or scores[i] > 0 else 0
    return LegScores(raw=scores, rank=ranks)


def two(dense: LegScores, sparse: LegScores) -> dict[Leg, LegScores]:
    return {Leg.DENSE: dense, Leg.SPARSE: sparse}


def split(candidates: list[tuple[float, float]]) -> tuple[LegScores, LegScores]:
    return leg([dense for dense, _ in candidates], everything=True), leg([sparse for _, sparse in candidates])


def test_convex_by_hand() -> None:
    fused = fuse(Fusion(method="convex", alpha=0.75), two(leg([0.2, 0.6, 0.4]), leg([8.0, 0.0, 2.0])))
    np.testing.assert_allclose(fused.legs[Leg.DENSE].norm, [0, 1, 0.5])
    np.testing.assert_allclose(fused.legs[Leg.SPARSE].norm, [1, 0, 0.25])
    np.testing.assert_allclose(fused.scores, [0.25, 0.75, 0.4375])
    assert (fused.legs[Leg.DENSE].scale, fused.legs[Leg.DENSE].constant) == pytest.approx(
        (1.875, -0.375)
    )  # 0.75 / 0.4, -0.75 * 0.2 / 0.4
    assert (fused.legs[Leg.SPARSE].scale, fused.legs[Leg.SPARSE].constant) == pytest.approx((0.03125, 0.0))


def test_reciprocal_rank_by_hand() -> None:
    fused = fuse(Fusion(method="rrf", weights=(1.0, 2.0)), two(leg([0.2, 0.6]), leg([3.0, 0.0])))
    np.testing.assert_allclose(fused.scores, [1 / 62 + 2 / 61, 1 / 61])
    assert (fused.legs[Leg.DENSE].scale, fused.legs[Leg.DENSE].constant) == (None, None)


def test_three_legs_by_hand() -> None:
    """The sparse side's share is split evenly, unless something else is said."""
    legs = two(leg([0.2, 0.6, 0.4]), leg([8.0, 0.0, 2.0])) | {Leg.LEARNED: leg([0.0, 3.0, 1.5])}
    fused = fuse(Fusion(method="convex", alpha=0.6), legs)
    np.testing.assert_allclose(fused.legs[Leg.LEARNED].norm, [0, 1, 0.5])
    np.testing.assert_allclose(fused.scores, [0.2, 0.8, 0.3 + 0.05 + 0.1])
    uneven = fuse(Fusion(method="convex", alpha=0.6, learned=0.75), legs)
    np.testing.assert_allclose(uneven.scores, [0.1, 0.9, 0.3 + 0.025 + 0.15])
    ranks = fuse(Fusion(method="rrf", weights=(1.0, 2.0), learned=0.25), legs)
    np.testing.assert_allclose(ranks.scores[0], 1 / 63 + 1.5 / 61)
    np.testing.assert_allclose(ranks.scores[1], 1 / 61 + 0.5 / 61)


@pytest.mark.parametrize(
    ("legs", "expected"),
    [
        ((Leg.DENSE, Leg.SPARSE), (0.7, 0.3)),
        ((Leg.DENSE, Leg.LEARNED), (0.7, 0.3)),
        ((Leg.SPARSE, Leg.LEARNED), (0.8, 0.2)),
        ((Leg.DENSE, Leg.SPARSE, Leg.LEARNED), (0.7, 0.24, 0.06)),
    ],
)
def test_the_weights_of_a_convex_combination_sum_to_one(legs: tuple[Leg, ...], expected: tuple[float, ...]) -> None:
    weights = Fusion(method="convex", alpha=0.7, learned=0.2).leg_weights(legs)
    assert tuple(weights) == legs
    assert tuple(weights.values()) == pytest.approx(expected)


@given(CANDIDATES, ALPHA)
def test_parts_add_up_to_the_score(candidates: list[tuple[float, float]], alpha: float) -> None:
    dense, sparse = split(candidates)
    convex = fuse(Fusion(method="convex", alpha=alpha), two(dense, sparse))
    lines = np.zeros(len(candidates))
    for part, scores in ((convex.legs[Leg.DENSE], dense), (convex.legs[Leg.SPARSE], sparse)):
        assert part.scale is not None
        assert part.constant is not None
        assert np.all((part.norm >= 0) & (part.norm <= 1))
        lines += part.scale * scores.raw + part.constant
    np.testing.assert_allclose(convex.scores, lines, atol=1e-9)
    ranks = fuse(Fusion(method="rrf"), two(dense, sparse))
    np.testing.assert_allclose(ranks.scores, ranks.legs[Leg.DENSE].norm + ranks.legs[Leg.SPARSE].norm)


@pytest.mark.parametrize("raw", [[3.0], [0.5, 0.5, 0.5], [1e-320, 0.0]])
def test_where_a_pool_has_no_spread_each_is_its_best(raw: list[float]) -> None:
    part = min_max(LegScores(raw=np.array(raw), rank=np.arange(1, len(raw) + 1)), 0.5)
    assert part.norm.tolist() == [1.0] * len(raw)
    assert (part.scale, part.constant, part.weight) == (0.0, 0.5, 0.5)


def test_a_spread_of_rounding_alone_is_none() -> None:
    """Divided by, it would turn the last digit of a cosine into a whole score, and the parts would not add up."""
    part = min_max(leg([0.7 + 1e-12, 0.7], everything=True), 0.5)
    assert part.norm.tolist() == [1.0, 1.0]
    assert (part.scale, part.constant) == (0.0, 0.5)


@pytest.mark.parametrize("largest", [0.8, 40.0, -0.7, 1e-280])
def test_what_is_noise_goes_by_the_largest_score(largest: float) -> None:
    size = abs(largest)
    assert usable_spread(largest - 5e-7 * size, largest) == 0.0
    assert usable_spread(largest - 2e-6 * size, largest) == pytest.approx(2e-6 * size)


def test_a_usable_spread_divides_the_largest_weight() -> None:
    assert math.isfinite(MAX_PARAMETER / usable_spread(0.0, 1e-290))
    assert usable_spread(0.0, 1e-295) == 0.0


def test_a_pool_without_spread_lifts_nothing_from_below_it() -> None:
    assert min_max(leg([0.7, 0.7, 0.7, 0.2], pool=2), 0.5).norm.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_an_empty_pool_says_nothing() -> None:
    part = min_max(leg([0.0, 0.0]), 0.5, low=0.0)
    assert part.norm.tolist() == [0.0, 0.0]
    assert (part.scale, part.constant) == (0.0, 0.0)


def test_with_a_known_lowest_score_the_others_keep_their_proportions() -> None:
    np.testing.assert_allclose(min_max(leg([4.0, 3.0]), 0.5, low=0.0).norm, [1, 0.75])


def test_a_candidate_outside_the_pool_counts_as_its_lowest() -> None:
    part = min_max(leg([0.8, 0.6, 0.5], pool=2), 1.0)
    np.testing.assert_allclose(part.norm, [1, 0, 0])


@given(CANDIDATES, ALPHA, st.sampled_from([0.001, 0.5, 3.0, 1000.0]))
def test_scaling_bm25_changes_no_convex_score(
    candidates: list[tuple[float, float]], alpha: float, factor: float
) -> None:
    dense, sparse = split(candidates)
    scaled = LegScores(raw=sparse.raw * factor, rank=sparse.rank)
    before, after = (
        fuse(Fusion(method="convex", alpha=alpha), two(dense, scores)).scores for scores in (sparse, scaled)
    )
    np.testing.assert_allclose(before, after, atol=1e-9)
    clear = np.subtract.outer(before, before) > 1e-9
    assert np.all(np.subtract.outer(after, after)[clear] > 0)


@given(CANDIDATES.filter(bool), ALPHA)
def test_a_candidate_that_matches_neither_leg_changes_no_other(
    candidates: list[tuple[float, float]], alpha: float
) -> None:
    """True of ranks always; of a convex fusion where the newcomer widens no leg's range."""
    dense, sparse = split(candidates)
    assume(np.ptp(dense.raw) > 1e-3)
    worst = LegScores(raw=np.append(dense.raw, dense.raw.min()), rank=np.append(dense.rank, 0))
    silent = LegScores(raw=np.append(sparse.raw, 0.0), rank=np.append(sparse.rank, 0))
    for fusion in (Fusion(method="convex", alpha=alpha), Fusion(method="rrf")):
        without, grown = fuse(fusion, two(dense, sparse)).scores, fuse(fusion, two(worst, silent)).scores
        np.testing.assert_array_equal(without, grown[:-1])
        assert grown[-1] == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=20), st.randoms())
def test_ranking_and_collapse_equal_the_slow_version(rows: list[tuple[int, float]], random: Any) -> None:
    ids: Int64Array = np.array(random.sample(range(100), len(rows)), dtype=np.int64)
    documents: Int64Array = np.array([document for document, _ in rows], dtype=np.int64)
    scores: Float64Array = np.array([score for _, score in rows], dtype=np.float64)
    slow = sorted(range(len(rows)), key=lambda i: (-scores[i], ids[i]))
    assert ranking(ids, scores).tolist() == slow
    best: dict[int, int] = {}
    for i in slow:
        best.setdefault(int(documents[i]), i)
    assert collapse(ids, scores, documents).tolist() == list(best.values())


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"method": "sum"}, "'auto', 'convex', 'rrf'"),
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"alpha": math.nan}, "between 0 and 1"),
        ({"k": 0.5}, r"between 1 and 1e\+06"),
        ({"k": math.inf}, r"between 1 and 1e\+06"),
        ({"k": math.nan}, r"between 1 and 1e\+06"),
        ({"k": 1.1e6}, r"between 1 and 1e\+06"),
        ({"weights": (-1.0, 1.0)}, r"between 0 and 1e\+15"),
        ({"weights": (1.0, math.nan)}, r"between 0 and 1e\+15"),
        ({"weights": (1.0, 1e16)}, r"between 0 and 1e\+15"),
        ({"weights": (0.0, 0.0)}, "not both 0"),
        ({"learned": 1.1}, "between 0 and 1"),
    ],
)
def test_bad_fusion_names_what_is_allowed(arguments: dict[str, Any], allowed: str) -> None:
    with pytest.raises(InvalidQuery, match=allowed) as caught:
        Fusion(**arguments)
    assert str(caught.value.param).startswith("fusion")


def test_legs_of_different_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        fuse(Fusion(), two(leg([0.1]), leg([0.1, 0.2])))
