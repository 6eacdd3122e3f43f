"""The weights of the auto fusion: by hand, against a slow version, and what must not move them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.records import Float64Array, Int64Array
from retriever.adaptive import FIELD, FIRST, SHARPNESS, UNHEARD, Choice, choose
from retriever.fusion import Fusion, LegScores, fuse
from retriever.legs import Leg, Wording

NORM = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.8, 0.9, 1.0])
DENSE_SPARSE = {Leg.DENSE: 0.5, Leg.SPARSE: 0.5}


def leg(*norms: float) -> Float64Array:
    return np.array(norms, dtype=np.float64)


def own(count: int) -> Int64Array:
    """Each candidate is a document of its own."""
    return np.arange(count, dtype=np.int64)


def spoken(known: float | None, words: int | None = 10) -> dict[Leg, Wording | None]:
    """A query of so many words, of which the sparse leg knows that share; None: nothing is said of its words."""
    return {Leg.SPARSE: None if known is None else Wording(words=words, known=known)}


def slow(norms: list[list[float]], documents: list[int], prior: list[float]) -> list[float]:
    """The formula of the module's docstring, a loop a step; all legs have prior weight and found something."""
    names = list(dict.fromkeys(documents))
    best = [[max(n for n, d in zip(norm, documents, strict=True) if d == name) for name in names] for norm in norms]
    decisive, confirmed = [], []
    for i, scores in enumerate(best):
        falling = sorted(range(len(names)), key=lambda j: (-scores[j], j))
        field = scores[falling[FIELD]] if len(names) > FIELD else 0.0
        decisive.append(scores[falling[0]] - field)
        first = falling[:FIRST]
        floor = scores[falling[FIRST]] if len(names) > FIRST else 0.0
        excess = [scores[j] - floor for j in first]
        if not any(excess):  # the next one stands as high: it is asked about, too
            first, excess = falling[: FIRST + 1], [1.0] * len(falling[: FIRST + 1])
        others = [o for o in range(len(best)) if o != i]
        said = [sum(best[o][j] * e for j, e in zip(first, excess, strict=True)) / sum(excess) for o in others]
        confirmed.append(sum(said) / len(said))
    agreement = sum(confirmed) / len(confirmed)
    raw = [p * math.exp(SHARPNESS * (1 - agreement) ** 2 * d) for p, d in zip(prior, decisive, strict=True)]
    heard = [max(0.0, r / sum(raw) - UNHEARD * p) for r, p in zip(raw, prior, strict=True)]
    return [h / sum(heard) for h in heard]


def test_by_hand() -> None:
    """The sparse leg has one clear first document, the dense leg a crowd, and each thinks little of the other's."""
    sparse = leg(1.0, *[0.2] * 11)
    dense = leg(0.4, 1.0, 0.9, *[0.8] * 9)
    found = choose({Leg.DENSE: dense, Leg.SPARSE: sparse}, own(12), DENSE_SPARSE)
    assert found.legs[Leg.SPARSE].decisiveness == pytest.approx(0.8)  # 1 less the eleventh, 0.2
    assert found.legs[Leg.DENSE].decisiveness == pytest.approx(0.2)
    assert found.legs[Leg.SPARSE].confirmation == pytest.approx(0.4)  # only its first stands above the third
    assert found.legs[Leg.DENSE].confirmation == pytest.approx(0.2)  # 0.2 of its first, which counts 2/3, and second
    assert found.agreement == pytest.approx(0.3)
    odds = math.exp(15 * 0.7**2 * (0.2 - 0.8))
    share = odds / (1 + odds)
    assert share < 0.1  # a fifth of the prior
    assert found.weights == {Leg.DENSE: 0.0, Leg.SPARSE: 1.0}


def test_a_leg_that_knows_few_of_the_words_is_less_decisive_than_it_looks() -> None:
    """One word in ten of the question is in the documents, and one document has it."""
    norms = {Leg.DENSE: leg(0.4, 1.0, 0.9, *[0.6] * 9), Leg.SPARSE: leg(1.0, *[0.0] * 11)}
    understood, foreign = (choose(norms, own(12), DENSE_SPARSE, spoken(known)) for known in (0.7, 0.2))
    assert understood.legs[Leg.SPARSE].decisiveness == 1.0
    assert foreign.legs[Leg.SPARSE].decisiveness == pytest.approx(1 / 9)  # 0.2 of the 0.6 that are enough, squared
    assert foreign.legs[Leg.DENSE].decisiveness == understood.legs[Leg.DENSE].decisiveness
    assert understood.weights[Leg.SPARSE] > 0.9
    assert foreign.weights[Leg.DENSE] > 0.8


def test_a_leg_that_knows_every_word_is_not_overruled_for_its_best_documents_being_many() -> None:
    """Twelve products hold the only word of the query; the dense leg, to which it means nothing, prefers others."""
    sparse = leg(*[1.0] * 12, *[0.0] * 12)
    dense = leg(*[0.1] * 12, 1.0, *[0.5] * 11)
    found = {
        known: choose({Leg.DENSE: dense, Leg.SPARSE: sparse}, own(24), DENSE_SPARSE, spoken(known))
        for known in (1.0, 0.9, 0.5, None)
    }
    assert {round(choice.agreement, 6) for choice in found.values()} == {0.05}  # 0 and 0.1
    assert found[None].weights == {Leg.DENSE: 1.0, Leg.SPARSE: 0.0}
    assert found[1.0].weights == pytest.approx(DENSE_SPARSE)
    decisive = {known: choice.legs[Leg.SPARSE].decisiveness for known, choice in found.items()}
    assert decisive == pytest.approx({1.0: 0.5, 0.9: 0.375, 0.5: 0.0, None: 0.0})  # 0.75 of the way from 0.6 to 1
    assert found[0.5].weights == found[None].weights
    assert 0 < found[0.9].weights[Leg.SPARSE] < 0.5


def test_a_leg_that_goes_by_words_has_more_of_a_short_query() -> None:
    agreed = {Leg.DENSE: leg(1.0, 1.0, 0.2), Leg.SPARSE: leg(1.0, 1.0, 0.2)}

    def dense(words: int | None, known: float = 1.0, alpha: float = 0.5) -> float:
        prior = {Leg.DENSE: alpha, Leg.SPARSE: 1 - alpha}
        found = choose(agreed, own(3), prior, spoken(known, words))
        started = {name: seen.prior for name, seen in found.legs.items()}
        assert found.weights == pytest.approx(started)  # as the legs agree
        return found.weights[Leg.DENSE]

    assert [dense(words) for words in (1, 2, 3, 4, 50)] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.5])
    assert dense(1, alpha=0.75) == pytest.approx(0.3)
    assert dense(1, alpha=1.0) == 1.0
    assert dense(1, known=0.0) == pytest.approx(0.5)  # as of a word in another language: the words tell nothing
    assert dense(2, known=0.5) == pytest.approx(0.4)
    assert dense(None) == pytest.approx(0.5)  # they do not tell how much is asked for


def test_the_words_of_a_short_query_are_heard_in_proportion_by_several_legs() -> None:
    """Learned weights beside BM25 go by no words of the query: the model finds others that mean the same."""
    alike = {name: leg(1.0, 0.5) for name in (Leg.DENSE, Leg.SPARSE, Leg.LEARNED)}
    prior = {Leg.DENSE: 0.5, Leg.SPARSE: 0.25, Leg.LEARNED: 0.25}
    found = choose(alike, own(2), prior, spoken(1.0, words=1))
    assert found.weights == pytest.approx({Leg.DENSE: 0.2, Leg.SPARSE: 0.7, Leg.LEARNED: 0.1})
    assert choose(alike, own(2), prior).weights == pytest.approx(prior)


def test_legs_that_agree_keep_their_prior_weights() -> None:
    """The sparse leg is decisive, the dense one is not; but each names the same two documents first."""
    sparse = leg(1.0, 1.0, *[0.0] * 10)
    dense = leg(1.0, 1.0, *[0.9] * 10)
    found = choose({Leg.DENSE: dense, Leg.SPARSE: sparse}, own(12), {Leg.DENSE: 0.3, Leg.SPARSE: 0.7})
    assert found.agreement == 1.0
    assert found.weights == pytest.approx({Leg.DENSE: 0.3, Leg.SPARSE: 0.7})


def test_a_leg_that_found_nothing_has_no_weight_and_changes_no_other() -> None:
    rest = {Leg.DENSE: leg(1.0, 0.5, 0.2), Leg.SPARSE: leg(0.3, 1.0, 0.2)}
    two = choose(rest, own(3), DENSE_SPARSE)
    three = choose({**rest, Leg.LEARNED: leg(0, 0, 0)}, own(3), {**DENSE_SPARSE, Leg.LEARNED: 0.2})
    assert three.weights == pytest.approx({**two.weights, Leg.LEARNED: 0.0})
    alone = choose({Leg.DENSE: leg(1.0, 0.5), Leg.SPARSE: leg(0, 0)}, own(2), DENSE_SPARSE)
    assert alone.weights == {Leg.DENSE: 1.0, Leg.SPARSE: 0.0}


@pytest.mark.parametrize("count", [0, 3])
def test_where_no_leg_found_anything_the_prior_stays(count: int) -> None:
    found = choose({Leg.DENSE: np.zeros(count), Leg.SPARSE: np.zeros(count)}, own(count), DENSE_SPARSE)
    assert found.weights == DENSE_SPARSE


def test_a_flat_leg_is_outvoted_by_two_that_are_not() -> None:
    dense = leg(0.3, 0.9, 0.9, 1.0, *[0.9] * 8)
    clear = leg(1.0, 0.3, 0.2, *[0.1] * 9)
    prior = {Leg.DENSE: 0.5, Leg.SPARSE: 0.25, Leg.LEARNED: 0.25}
    found = choose({Leg.DENSE: dense, Leg.SPARSE: clear, Leg.LEARNED: clear}, own(12), prior)
    assert found.weights[Leg.DENSE] < 0.3
    assert found.weights[Leg.SPARSE] == found.weights[Leg.LEARNED]


@given(st.lists(st.tuples(NORM, NORM, NORM, st.integers(0, 9)), min_size=1, max_size=30), st.integers(2, 3))
def test_equals_the_slow_version(rows: list[tuple[float, float, float, int]], legs: int) -> None:
    norms = [[row[i] for row in rows] for i in range(legs)]
    norms = [[1.0, *norm] for norm in norms]  # each leg found something
    documents = [10, *(row[3] for row in rows)]
    names, prior = [Leg.DENSE, Leg.SPARSE, Leg.LEARNED][:legs], [0.4, 0.6] if legs == 2 else [0.5, 0.3, 0.2]
    found = choose(
        {name: np.array(norm) for name, norm in zip(names, norms, strict=True)},
        np.array(documents, dtype=np.int64),
        dict(zip(names, prior, strict=True)),
    )
    assert list(found.weights.values()) == pytest.approx(slow(norms, documents, prior), abs=1e-9)
    assert sum(found.weights.values()) == pytest.approx(1)


SCORES = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 30)), min_size=2, max_size=20, unique_by=lambda r: r[0])


def scored(rows: list[tuple[float, float]]) -> dict[Leg, LegScores]:
    legs = {}
    for i, name in enumerate((Leg.DENSE, Leg.SPARSE)):
        raw = np.array([round(row[i], 3) for row in rows])
        rank = np.zeros(len(rows), dtype=np.int64)
        for place, at in enumerate(np.argsort(-raw, kind="stable"), start=1):
            rank[at] = place if name is Leg.DENSE or raw[at] > 0 else 0
        legs[name] = LegScores(raw=raw, rank=rank)
    return legs


def chosen(legs: dict[Leg, LegScores], documents: Int64Array | None = None, alpha: float = 0.5) -> Choice:
    found = fuse(Fusion(alpha=alpha), legs, documents).choice
    assert found is not None
    return found


@given(SCORES, st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_scale_of_bm25_moves_no_weight(rows: list[tuple[float, float]], factor: float) -> None:
    legs = scored(rows)
    scaled = legs | {Leg.SPARSE: LegScores(raw=legs[Leg.SPARSE].raw * factor, rank=legs[Leg.SPARSE].rank)}
    assert chosen(scaled).weights == pytest.approx(chosen(legs).weights)


@given(SCORES, st.floats(0, 1))
def test_the_parts_of_an_auto_fusion_are_lines_that_add_up(rows: list[tuple[float, float]], alpha: float) -> None:
    legs = scored(rows)
    fused = fuse(Fusion(alpha=alpha), legs)
    assert fused.choice is not None
    lines = np.zeros(len(rows))
    for name, part in fused.legs.items():
        assert part.weight == fused.choice.legs[name].weight
        assert part.scale is not None
        assert part.constant is not None
        lines += part.scale * legs[name].raw + part.constant
    np.testing.assert_allclose(fused.scores, lines, atol=1e-9)
    fixed = fuse(Fusion(method="convex", alpha=fused.choice.legs[Leg.DENSE].weight), legs)
    np.testing.assert_allclose(fused.scores, fixed.scores, atol=1e-12)


@given(SCORES)
def test_a_prior_of_one_leg_is_that_leg(rows: list[tuple[float, float]]) -> None:
    legs = scored(rows)
    assert chosen(legs, alpha=1.0).weights == {Leg.DENSE: 1.0, Leg.SPARSE: 0.0}
    assert chosen(legs, alpha=0.0).weights[Leg.SPARSE] == 1.0


def test_of_equal_documents_the_first_passages_count_and_not_the_numbers() -> None:
    """A document that is replaced keeps its number, one that is added again has another: the passages are the same."""
    both = {Leg.DENSE: leg(0.9, 0.5, 0.1, 0.0, 0.4), Leg.SPARSE: leg(1.0, 1.0, 1.0, 1.0, 1.0)}
    found = [choose(both, np.array(numbers), DENSE_SPARSE) for numbers in ([0, 1, 2, 3, 0], [9, 1, 7, 3, 9])]
    assert found[0] == found[1]


def test_passages_of_one_document_do_not_make_each_other_less_decisive() -> None:
    legs = scored([(0.9, 20.0), *((0.3 - i / 100, 2.0 - i / 10) for i in range(FIELD + 1))])
    twice = {
        name: LegScores(raw=np.append(leg.raw, leg.raw[0]), rank=np.append(leg.rank, leg.rank[0]))
        for name, leg in legs.items()
    }
    assert chosen(twice, np.array([*range(FIELD + 2), 0])).legs == chosen(legs).legs
    assert chosen(twice).legs[Leg.SPARSE].decisiveness < chosen(legs).legs[Leg.SPARSE].decisiveness
