"""Converts controls on characters into one factor per token.

A per-character factor field starts at 1; a control multiplies its span by its factor, so overlapping controls multiply.
The factor of a token is the mean of the field over the token's characters that are not white space. For one control
that is `1 + (factor - 1) * overlapped_characters / token_characters`, the partial overlap of the Aleph Alpha API.
Controls with complete overlap act fully on every token that they touch; if several touch a token, only the strongest
acts (largest |log factor|, the last of equals).
Products above MAX_FACTOR are refused, like single factors: float32 would overflow, and vectors would become nan.
Absolute values multiply, and any factor below 0 makes the product negative: two negative factors do not cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, TextControl, TokenControl, TokenOverlap
from core.records import BoolArray, Float64Array, Int64Array

_ROUNDING = 1e-12  # factors of a smaller absolute value become 0
_LAST_SPACE = 0x3000  # the white space character with the highest code point
_VISIBLE = np.array([not chr(point).isspace() for point in range(_LAST_SPACE + 2)])  # last: all higher code points


def index_factors(count: int, controls: Sequence[TokenControl]) -> Float64Array:
    """(count,) float64: the product of the factors of all controls on each of `count` tokens, 1 elsewhere.

    Raises InvalidControl if a product is above MAX_FACTOR.
    """
    field = np.ones(count)
    for control in controls:
        field[control.index] *= control.factor
        if field[control.index] > MAX_FACTOR:
            raise InvalidControl(
                f"the controls on token {control.index} multiply to {field[control.index]:g}: "
                f"at most {MAX_FACTOR:g} is allowed",
                param="controls",
            )
    return field


def character_factors(text: str, controls: Iterable[TextControl], end: int | None = None) -> Float64Array:
    """(characters,) float64: the product of the factors of all `controls` that cover the character, 1 elsewhere.

    `end`: the number of characters to return; None: all. Raises InvalidControl if a product is above MAX_FACTOR, also
    beyond `end`.
    """
    ranges = [(control.start, min(control.end, len(text)), control.factor) for control in controls]
    # The product is constant between two borders of controls; so the time does not grow with controls times characters.
    borders = np.unique([0, len(text), *(border for start, stop, _ in ranges for border in (start, stop))])
    field, sign = np.ones(len(borders) - 1), np.ones(len(borders) - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # both are refused below
        for start, stop, factor in ranges:
            covered = slice(*np.searchsorted(borders, (start, stop)))
            field[covered] *= abs(factor)
            if factor < 0:
                sign[covered] = -1
    too_large = np.flatnonzero(~(field <= MAX_FACTOR))
    if len(too_large):
        first = too_large[0]
        raise InvalidControl(
            f"the controls that overlap at character {borders[first]} multiply to {field[first]:g}: "
            f"at most {MAX_FACTOR:g} is allowed",
            param="controls",
        )
    wanted = borders if end is None else np.minimum(borders, end)
    return np.repeat(field * sign, np.diff(wanted))


def span_factors(text: str, controls: Sequence[TextControl], spans: Int64Array) -> Float64Array:
    """(spans,) float64: the factor of each half-open character span of `text` (such as a token or a term).

    Factors are below 0 only if a control's is. `spans` has shape (spans, 2). An empty span, or one of white space only,
    has factor 1. Raises InvalidControl if overlapping controls, partial or complete, multiply to more than MAX_FACTOR.
    """
    factors = np.ones(len(spans))
    if not controls:
        return factors
    end = int(spans.max(initial=0))  # a model may read only the beginning of a long text
    field = character_factors(text, (c for c in controls if c.token_overlap is TokenOverlap.PARTIAL), end)
    visible = _visible(text[:end])
    count_before = np.concatenate(([0.0], np.cumsum(visible)))
    sum_before = np.concatenate(([0.0], np.cumsum(visible * (field - 1))))  # of f - 1, so that 1 stays exactly 1
    starts, ends = spans[:, 0], spans[:, 1]
    counts = count_before[ends] - count_before[starts]
    sums = sum_before[ends] - sum_before[starts]
    steered = (counts > 0) & (sums != 0)
    factors[steered] += sums[steered] / counts[steered]
    _apply_complete(factors, controls, spans, counts)
    too_large = np.flatnonzero(np.abs(factors) > MAX_FACTOR)
    if len(too_large):
        first = too_large[0]
        raise InvalidControl(
            f"the controls on characters {starts[first]} to {ends[first]} multiply to {factors[first]:g}: "
            f"at most {MAX_FACTOR:g} is allowed",
            param="controls",
        )
    factors[np.abs(factors) < _ROUNDING] = 0.0
    return factors


def _visible(text: str) -> BoolArray:
    """(characters,) whether each is not white space, as defined by str.isspace."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    visible: BoolArray = _VISIBLE[np.minimum(points, _LAST_SPACE + 1)]
    return visible


def _apply_complete(
    factors: Float64Array, controls: Sequence[TextControl], spans: Int64Array, counts: Float64Array
) -> None:
    complete = [c for c in controls if c.token_overlap is TokenOverlap.COMPLETE]
    strongest_last = sorted(complete, key=lambda c: strength(c.factor))
    chosen = np.ones(len(spans))
    for control in strongest_last:
        touched = (spans[:, 0] < control.end) & (spans[:, 1] > control.start) & (counts > 0)
        chosen[touched] = control.factor
    negative = (factors < 0) | (chosen < 0)
    factors[:] = np.where(negative, -1.0, 1.0) * np.abs(factors * chosen)


def strength(factor: float) -> float:
    """The strength by which controls with complete overlap are compared: |log factor|, infinite for factors <= 0."""
    return abs(math.log(factor)) if factor > 0 else math.inf
