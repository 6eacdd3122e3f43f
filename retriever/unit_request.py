"""The request to explain the parts of a passage by another method than leave-one-out in the pool."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidControl, InvalidQuery
from embedder.explaining.request import DEFAULT_FACTOR, Granularity

MAX_CONTROL_FACTOR = 1.0


class UnitMethod(StrEnum):
    ATMAN = "atman"  # each part is suppressed once, in the attention and in the pool
    INTEGRATED_GRADIENTS = "integrated_gradients"  # of the cosine, along the path from an empty text


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRequest:
    """The method and its parameters. Raises InvalidQuery or InvalidControl for values that are not allowed."""

    method: UnitMethod
    granularity: Granularity | None = None  # None: the one that divides the passage into about 30 parts
    control_factor: float = DEFAULT_FACTOR  # atman: factor of the suppressed part

    def __post_init__(self) -> None:
        if self.granularity is Granularity.CUSTOM:
            raise InvalidQuery("granularity: allowed are token, word, sentence and paragraph", param="granularity")
        if not (math.isfinite(self.control_factor) and 0 <= self.control_factor < MAX_CONTROL_FACTOR):
            raise InvalidControl(
                f"control_factor {self.control_factor}: must be a number from 0 to below {MAX_CONTROL_FACTOR:g}",
                param="control_factor",
            )
