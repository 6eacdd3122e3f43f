"""Converts controls on rectangles of an image into one factor for each patch that an image tower reads.

The factor of a patch is `1 + sum((f - 1) * share)`, at least 0, where the share is the fraction of the patch's area
that a control covers: the partial overlap of the Aleph Alpha API. Controls with complete overlap act fully on each
patch that they touch; of several, only the strongest is multiplied in (largest |log factor|, the last of equals).
Rectangles are relative to the entire upright image; parts of them that the model does not see have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.errors import InvalidControl
from core.prompts import MAX_FACTOR, ImageControl, TokenOverlap
from core.records import Float64Array
from embedder.factors import strength
from embedder.vision.imagefile import View
from embedder.vision.processor import ImageSettings

_TOUCH = 1e-9  # share of a patch's side up to which an overlap is regarded as a rounding error


def patch_factors(
    controls: Sequence[ImageControl], view: View, settings: ImageSettings, patch_size: int
) -> Float64Array:
    """(patches,) float64 from 0 to MAX_FACTOR: the factor of each patch, row by row from the upper left.

    `patch_size`: the side of a patch in pixels. Raises InvalidControl if the factor of a patch exceeds MAX_FACTOR.
    """
    columns = _edges(view.square.x, view.square.size, view.width, settings, patch_size)
    rows = _edges(view.square.y, view.square.size, view.height, settings, patch_size)
    grid = np.ones((len(rows) - 1, len(columns) - 1))
    chosen = np.ones_like(grid)
    for control in sorted(controls, key=lambda control: strength(control.factor)):  # the strongest last
        across = _shares(columns, control.left, control.left + control.width)
        down = _shares(rows, control.top, control.top + control.height)
        if control.token_overlap is TokenOverlap.PARTIAL:
            grid += (control.factor - 1) * np.outer(down, across)
        else:
            chosen[np.outer(down > _TOUCH, across > _TOUCH)] = control.factor
    factors = (np.maximum(grid, 0.0) * chosen).ravel()
    if (factors > MAX_FACTOR).any():
        raise InvalidControl(
            f"the controls on one part of the image come to {factors.max():g}: at most {MAX_FACTOR:g} is allowed",
            param="controls",
        )
    return factors


def _edges(start: int, length: int, whole: int, settings: ImageSettings, patch_size: int) -> Float64Array:
    """(patches + 1,) the edges of the patches along one side of the image, as fractions of its `whole` pixels.

    `start`, `length`: the square's pixels on this side. A tower ignores the pixels after its last whole patch.
    """
    pixels = settings.margin + patch_size * np.arange(settings.size // patch_size + 1)  # of the resized square
    edges: Float64Array = (start + length * pixels / settings.resize) / whole
    return edges


def _shares(edges: Float64Array, start: float, end: float) -> Float64Array:
    """(patches,) the share of each patch's side that lies between `start` and `end`, 0 to 1."""
    covered = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    shares: Float64Array = np.clip(covered / np.diff(edges), 0.0, 1.0)
    return shares
