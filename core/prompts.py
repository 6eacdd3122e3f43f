"""What is embedded, and how its attention is steered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidControl

MAX_FACTOR = 1000.0  # far above any use, far below where float32 overflows


class TokenOverlap(StrEnum):
    """What a control does to a token that it covers in part."""

    PARTIAL = "partial"  # the factor moves towards 1 by the share that is not covered
    COMPLETE = "complete"  # the factor applies in full


class ControlTarget(StrEnum):
    """Where a factor acts. The measured effects are in docs/steering.md."""

    AUTO = "auto"  # below 1 as BOTH; above 1 the pool by f and the attention by min(f, 2)
    ATTENTION = "attention"
    POOL = "pool"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextControl:
    """Emphasis (factor above 1) or suppression (below 1) of a character span of a prompt's text.

    Raises InvalidControl unless start >= 0, length >= 1 and the factor is between 0 and MAX_FACTOR.
    """

    start: int  # first character, code points
    length: int  # characters
    factor: float  # 0 suppresses fully, 1 changes nothing
    token_overlap: TokenOverlap = TokenOverlap.PARTIAL

    def __post_init__(self) -> None:
        if self.start < 0 or self.length < 1:
            raise InvalidControl(
                f"control at {self.start} of length {self.length}: start must be 0 or more, length 1 or more",
                param="controls",
            )
        if not (math.isfinite(self.factor) and 0 <= self.factor <= MAX_FACTOR):
            raise InvalidControl(
                f"control factor {self.factor}: must be a number from 0 to {MAX_FACTOR:g}", param="controls"
            )

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlOptions:
    """How the controls of a prompt act on the model."""

    contextual_threshold: float | None = None  # cosine -1..1 from which similar tokens are steered along; None: off
    log_additive: bool = True  # add log f to the attention scores; False: scale (score - minimum) by f
    target: ControlTarget = ControlTarget.AUTO

    def __post_init__(self) -> None:
        threshold = self.contextual_threshold
        if threshold is not None and not -1 <= threshold <= 1:
            raise InvalidControl(
                f"contextual control threshold {threshold}: must be between -1 and 1", param="contextual_threshold"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A text to embed, with its attention controls. Raises InvalidControl for a control wholly outside the text."""

    text: str
    controls: tuple[TextControl, ...] = ()

    def __post_init__(self) -> None:
        for control in self.controls:
            if control.start >= len(self.text):
                raise InvalidControl(
                    f"control at {control.start} starts behind the text's end at {len(self.text)}", param="controls"
                )
