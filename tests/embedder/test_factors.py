"""The character factor field, against a slow reading of its definition."""

import itertools
import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidControl
from core.prompts import Prompt, TextControl, TokenOverlap
from embedder.factors import character_factors, span_factors
from tests.growth import assert_growth

texts = st.text(alphabet=st.sampled_from("ab \n\u00e9\u4f60\U0001f3ae"), min_size=1, max_size=12)
factors = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.5, 1.0, 2.0, 7.0])


@st.composite
def steered_text(draw: st.DrawFn) -> tuple[str, list[TextControl], np.ndarray]:
    text = draw(texts)
    controls = [
        TextControl(
            start=draw(st.integers(0, len(text) - 1)),
            length=draw(st.integers(1, len(text) + 2)),
            factor=draw(factors),
            token_overlap=draw(st.sampled_from(TokenOverlap)),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    bounds = sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=6)))
    return text, controls, np.array(list(itertools.pairwise(bounds)), dtype=np.int64)


def slow_span_factor(text: str, controls: list[TextControl], start: int, end: int) -> float:
    characters = [i for i in range(start, end) if not text[i].isspace()]
    if not characters:
        return 1.0
    partial = [c for c in controls if c.token_overlap is TokenOverlap.PARTIAL]
    field = [product([c.factor for c in partial if c.start <= i < c.end]) for i in characters]
    touching = [
        c.factor for c in controls if c.token_overlap is TokenOverlap.COMPLETE and c.start < end and start < c.end
    ]
    strongest = max(reversed(touching), key=lambda f: abs(math.log(f)) if f > 0 else math.inf, default=1.0)
    return product([sum(field) / len(field), strongest])


def product(factors: list[float]) -> float:
    """Of the sizes, negative where any factor is."""
    return math.prod(abs(f) for f in factors) * (-1 if any(f < 0 for f in factors) else 1)


@given(steered_text())
def test_span_factors_equal_the_slow_definition(case: tuple[str, list[TextControl], np.ndarray]) -> None:
    text, controls, spans = case
    found = span_factors(text, controls, spans)
    for factor, (start, end) in zip(found, spans, strict=True):
        expected = slow_span_factor(text, controls, start, end)
        rivals = {c.factor for c in controls if c.token_overlap is TokenOverlap.COMPLETE}
        if len({abs(math.log(f)) if f > 0 else math.inf for f in rivals}) == len(rivals):  # no tie between 2 and 0.5
            assert factor == pytest.approx(expected, abs=1e-12)


@given(steered_text())
def test_factor_one_is_exactly_the_identity(case: tuple[str, list[TextControl], np.ndarray]) -> None:
    text, controls, spans = case
    ones = [TextControl(start=c.start, length=c.length, factor=1, token_overlap=c.token_overlap) for c in controls]
    assert (span_factors(text, ones, spans) == 1.0).all()


def test_partial_overlap_as_documented() -> None:
    # "a factor of 2.0 of a control that only covers 2 of 4 token characters, would be adjusted to 1.5"
    control = TextControl(start=0, length=2, factor=2)
    assert span_factors("play", [control], np.array([[0, 4]])) == [1.5]


def test_overlapping_controls_multiply() -> None:
    controls = [TextControl(start=0, length=4, factor=2), TextControl(start=2, length=2, factor=3)]
    assert character_factors("play", controls).tolist() == [2, 2, 6, 6]


@pytest.mark.parametrize("factors", [[100, 20], [1000] * 120, [1000] * 120 + [0]])
def test_a_product_out_of_range_is_refused(factors: list[float]) -> None:
    controls = [TextControl(start=1, length=2, factor=factor) for factor in factors]
    with pytest.raises(InvalidControl, match=r"overlap at character 1 multiply to .*: at most 1000"):
        span_factors("play", controls, np.array([[0, 4]]))
    within = [*controls[:1], TextControl(start=0, length=4, factor=0.5)]
    assert character_factors("play", within).max() == factors[0] / 2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_product_of_partial_and_complete_overlap_out_of_range_is_refused(sign: int) -> None:
    whole = TextControl(start=0, length=3, factor=500.0)
    twice = TextControl(start=0, length=3, factor=2.0 * sign, token_overlap=TokenOverlap.COMPLETE)
    thrice = TextControl(start=0, length=3, factor=3.0 * sign, token_overlap=TokenOverlap.COMPLETE)
    spans = np.array([[4, 7], [0, 3]])
    assert span_factors("hot tea", [whole, twice], spans).tolist() == [1.0, 1000.0 * sign]
    with pytest.raises(InvalidControl, match=r"characters 0 to 3 multiply to -?1500: at most 1000 is allowed"):
        span_factors("hot tea", [whole, thrice], spans)


def test_white_space_in_a_token_does_not_dilute_a_control() -> None:
    control = TextControl(start=1, length=2, factor=3)
    assert span_factors(" tv", [control], np.array([[0, 3]])) == [3.0]


def test_every_kind_of_white_space_is_stripped_and_nothing_else() -> None:
    """Each character in a token of its own beside a letter: the control covers it alone."""
    characters = [chr(point) for point in range(sys.maxunicode + 1)]
    text = "a".join(characters)
    controls = [TextControl(start=0, length=len(text), factor=3.0)]
    spans = np.array([[2 * i, 2 * i + 1] for i in range(len(characters))])
    steered = span_factors(text, controls, spans) != 1
    assert steered.tolist() == [not character.isspace() for character in characters]


@pytest.mark.parametrize("factor", [-10.1, math.nan, math.inf, -math.inf, 1001.0])
def test_a_factor_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(InvalidControl, match="a number from -10 to 1000"):
        TextControl(start=0, length=1, factor=factor)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 0), (3, -1)])
def test_an_impossible_span_is_refused(start: int, length: int) -> None:
    with pytest.raises(InvalidControl, match="start must be 0 or more"):
        TextControl(start=start, length=length, factor=2)


def test_a_control_behind_the_text_is_refused() -> None:
    with pytest.raises(InvalidControl, match="behind the text's end at 2"):
        Prompt.of("tv", controls=(TextControl(start=2, length=1, factor=2),))


def test_many_controls_on_a_long_text_are_quick() -> None:
    """Neither characters times controls, nor more of the text than is read."""

    def steering(count: int, words: int) -> Callable[[], object]:
        text, spans = " " * 500_000 + "a word" * words, np.array([[500_000, 500_001]])
        controls = tuple(TextControl(start=i, length=len(text), factor=1.0001) for i in range(count))

        def work() -> None:
            [factor] = span_factors(Prompt.of(text, controls).items[0].text, controls, spans)
            assert factor == pytest.approx(1.0001**count)

        return work

    assert_growth(lambda controls: steering(controls, 1_000), 100, 5_000, most=8)
    assert_growth(lambda words: steering(100, words), 1_000, 1_000_000, most=3)


def test_white_space_only_whatever_other_controls_say() -> None:
    around = TextControl(start=0, length=9, factor=2)
    with pytest.raises(InvalidControl, match="control at 2 of length 3 covers white space only"):
        Prompt.of("ab   cdef", (around, TextControl(start=2, length=3, factor=2), around))
    assert Prompt.of("ab   cdef", (around, TextControl(start=2, length=4, factor=2))).steered
