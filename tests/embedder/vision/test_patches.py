"""Rectangles to patch factors: worked examples, and a slow count of small squares as the oracle."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import InvalidControl
from core.prompts import Crop, ImageControl, TokenOverlap
from embedder.vision.imagefile import Picture
from embedder.vision.patches import patch_factors
from embedder.vision.processor import ImageSettings

COMPLETE = TokenOverlap.COMPLETE


def shape(resize: int = 4, size: int | None = None) -> ImageSettings:
    return ImageSettings(
        resize=resize, size=size or resize, resample=3, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )


def picture(width: int, height: int, square: Crop) -> Picture:
    return Picture(pixels=Image.new("RGB", (square.size, square.size)), square=square, width=width, height=height)


def control(left: float, top: float, width: float, height: float, factor: float, **options: object) -> ImageControl:
    return ImageControl(left=left, top=top, width=width, height=height, factor=factor, **options)  # type: ignore[arg-type]


CELLS = 4  # of a patch side: a patch is 2 or 4 pixels, rectangles lie on whole pixels
WHOLE = picture(100, 100, Crop(x=0, y=0, size=100))


def test_half_a_patch_moves_half_the_way() -> None:
    found = patch_factors([control(0, 0, 0.25, 0.5, 3.0)], WHOLE, shape(), 2)
    assert found.tolist() == [2.0, 1.0, 1.0, 1.0]


def test_complete_overlap_acts_in_full_on_every_patch_it_touches() -> None:
    found = patch_factors([control(0.4, 0.4, 0.2, 0.05, 3.0, token_overlap=COMPLETE)], WHOLE, shape(), 2)
    assert found.tolist() == [3.0, 3.0, 1.0, 1.0]
    both = [control(0, 0, 1, 1, f, token_overlap=COMPLETE) for f in (0.25, 3.0, 1.0)]
    assert patch_factors(both, WHOLE, shape(), 2).tolist() == [0.25] * 4
    edge = [control(0.5, 0, 0.5, 1, 0.0, token_overlap=COMPLETE)]
    assert patch_factors(edge, WHOLE, shape(), 2).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_controls_add_up_and_stop_at_zero() -> None:
    found = patch_factors([control(0, 0, 1, 0.5, 0.0), control(0, 0, 0.5, 1, 0.0)], WHOLE, shape(), 2)
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_what_lies_outside_the_crop_has_no_effect() -> None:
    wide = picture(200, 100, Crop(x=50, y=0, size=100))
    assert patch_factors([control(0, 0, 0.25, 1, 0.0)], wide, shape(), 2).tolist() == [1.0] * 4
    half_seen = patch_factors([control(0, 0, 0.5, 1, 0.0)], wide, shape(), 2)
    assert half_seen.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert patch_factors([], wide, shape(), 2).tolist() == [1.0] * 4


def test_the_margin_and_the_rest_behind_the_last_patch_are_not_seen() -> None:
    inner = patch_factors([control(0, 0, 0.5, 0.25, 0.0)], WHOLE, shape(resize=8, size=4), 2)
    assert inner.tolist() == [1.0] * 4  # a quarter on each side is cut off
    rest = patch_factors([control(0.8, 0, 0.2, 1, 0.0)], WHOLE, shape(resize=5), 2)
    assert rest.tolist() == [1.0] * 4  # the fifth pixel belongs to no patch


def test_a_sum_above_the_limit_is_refused() -> None:
    with pytest.raises(InvalidControl, match="come to 1199: at most 1000"):
        patch_factors([control(0, 0, 1, 1, 600.0), control(0, 0, 1, 1, 600.0)], WHOLE, shape(), 2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_factors_equal_a_count_of_small_squares(data: st.DataObject) -> None:
    """Everything lies on whole pixels, so that each patch can be cut into cells and the covered ones counted."""
    width, height = data.draw(st.sampled_from([(12, 12), (24, 12), (12, 36)]))
    side = data.draw(st.sampled_from([6, 12]))
    x, y = data.draw(st.integers(0, width - side)), data.draw(st.integers(0, height - side))
    rectangles = []
    for _ in range(data.draw(st.integers(0, 3))):
        left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
        factor = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]))
        overlap = data.draw(st.sampled_from(list(TokenOverlap)))
        rectangles.append((left, top, right, bottom, factor, overlap))
    controls = [
        control(le / width, to / height, (ri - le) / width, (bo - to) / height, factor, token_overlap=overlap)
        for le, to, ri, bo, factor, overlap in rectangles
    ]
    found = patch_factors(controls, picture(width, height, Crop(x=x, y=y, size=side)), shape(resize=6), 2)
    assert found == pytest.approx(slow_factors(rectangles, x, y, side), abs=1e-9)


def slow_factors(rectangles: list, x: int, y: int, side: int) -> list[float]:  # type: ignore[type-arg]
    """3 x 3 patches over a square; each is cut into cells whose centres are inside a rectangle or not."""
    factors = []
    for row, column in np.ndindex(3, 3):
        total, strongest = 1.0, 1.0
        for left, top, right, bottom, factor, overlap in rectangles:
            covered = 0
            for j, i in np.ndindex(CELLS, CELLS):
                across = x + (column + (Fraction(i) + Fraction(1, 2)) / CELLS) * Fraction(side, 3)
                down = y + (row + (Fraction(j) + Fraction(1, 2)) / CELLS) * Fraction(side, 3)
                covered += left < across < right and top < down < bottom
            if overlap is TokenOverlap.PARTIAL:
                total += (factor - 1) * covered / CELLS**2
            elif covered and abs(np.log(factor or 1e-300)) >= abs(np.log(strongest or 1e-300)):
                strongest = factor
        factors.append(max(total, 0.0) * strongest)
    return factors
