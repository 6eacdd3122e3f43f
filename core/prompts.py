"""Prompts: the texts, token ids and images that a model embeds, and the attention controls on them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidControl, InvalidInput

MAX_FACTOR = 1000.0  # far above any practical use, far below float32 overflow
MIN_FACTOR = -10.0  # on texts: at this factor the words stand for little but their opposite
_VISIBLE = re.compile(r"\S")


class TokenOverlap(StrEnum):
    """What a control does to a token that it covers only partly."""

    PARTIAL = "partial"  # the factor moves towards 1 by the share that is not covered
    COMPLETE = "complete"  # the factor applies in full


class ControlTarget(StrEnum):
    """Where a factor acts. The measured effects are in docs/steering.md."""

    AUTO = "auto"  # below 1 like BOTH; above 1 scales the pool by f, and takes attention from the other words
    ATTENTION = "attention"
    POOL = "pool"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """The input of an embedding: a sequence of items, each with its attention controls.

    Raises InvalidInput for a prompt without items.
    """

    items: tuple[PromptItem, ...]

    def __post_init__(self) -> None:
        if not self.items:
            raise InvalidInput("the prompt has no items: at least one is needed", param="prompt")

    @classmethod
    def of(cls, text: str, controls: tuple[TextControl, ...] = ()) -> Prompt:
        """A prompt of one text. Raises InvalidControl as TextItem does."""
        return cls(items=(TextItem(text=text, controls=controls),))

    @property
    def steered(self) -> bool:
        """Whether any control has a factor other than 1."""
        return any(control.factor != 1 for item in self.items for control in item.controls)

    @property
    def pushes_away(self) -> bool:
        """Whether any factor is below 0."""
        return any(control.factor < 0 for item in self.items for control in item.controls)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextItem:
    """A text with its controls. Raises InvalidControl for a control outside the text or only on white space."""

    text: str
    controls: tuple[TextControl, ...] = ()

    def __post_init__(self) -> None:
        for control in self.controls:
            if control.start >= len(self.text):
                raise InvalidControl(
                    f"control at {control.start} starts behind the text's end at {len(self.text)}", param="controls"
                )
        visible = -1  # the first character that is not white space, searched from the start of an earlier control
        for control in sorted(self.controls, key=lambda control: control.start):  # sorted: one pass over the text
            if visible < control.start:
                found = _VISIBLE.search(self.text, control.start)
                visible = len(self.text) if found is None else found.start()
            if visible >= min(control.end, len(self.text)):
                raise InvalidControl(
                    f"control at {control.start} of length {control.length} covers white space only: no token is there",
                    param="controls",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenIdsItem:
    """Token ids of the model's own vocabulary, used unchanged. Raises InvalidControl for an index out of range."""

    ids: tuple[int, ...]
    controls: tuple[TokenControl, ...] = ()

    def __post_init__(self) -> None:
        for control in self.controls:
            if control.index >= len(self.ids):
                raise InvalidControl(
                    f"control on token {control.index}: the item has tokens 0 to {len(self.ids) - 1}", param="controls"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageItem:
    """An image file's bytes. Models see a square of the image: `crop`, or by default the largest one in the centre."""

    data: bytes  # PNG, JPEG, WebP ...; not decoded yet
    crop: Crop | None = None
    controls: tuple[ImageControl, ...] = ()


PromptItem = TextItem | TokenIdsItem | ImageItem


@dataclass(frozen=True, kw_only=True, slots=True)
class TextControl:
    """Emphasis (factor above 1), suppression (below 1) or the opposite (below 0) of a character span of a text.

    Raises InvalidControl unless start >= 0, length >= 1 and the factor is between MIN_FACTOR and MAX_FACTOR.
    """

    start: int  # first character, in code points
    length: int  # characters
    factor: float  # 0 suppresses fully, 1 changes nothing; below 0 the vector moves away from the span's meaning
    token_overlap: TokenOverlap = TokenOverlap.PARTIAL

    def __post_init__(self) -> None:
        if self.start < 0 or self.length < 1:
            raise InvalidControl(
                f"control at {self.start} of length {self.length}: start must be 0 or more, length 1 or more",
                param="controls",
            )
        _check_factor(self.factor, MIN_FACTOR)

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenControl:
    """Emphasis or suppression of one token of a TokenIdsItem. Raises InvalidControl."""

    index: int  # of the token in its item
    factor: float

    def __post_init__(self) -> None:
        if self.index < 0:
            raise InvalidControl(f"control on token {self.index}: must be 0 or more", param="controls")
        _check_factor(self.factor)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageControl:
    """Emphasis or suppression of a rectangle of an image. Raises InvalidControl.

    Coordinates are fractions (0 to 1) of the entire image before any crop, from its upper left corner.
    """

    left: float
    top: float
    width: float  # above 0
    height: float  # above 0
    factor: float
    token_overlap: TokenOverlap = TokenOverlap.PARTIAL

    def __post_init__(self) -> None:
        sides = (self.left, self.top, self.width, self.height)
        if not all(0 <= side <= 1 for side in sides) or self.width == 0 or self.height == 0:
            raise InvalidControl(
                f"control rectangle left {self.left}, top {self.top}, width {self.width}, height {self.height}: "
                "all must be between 0 and 1, width and height above 0",
                param="controls",
            )
        if self.left == 1 or self.top == 1:
            raise InvalidControl(
                f"control rectangle left {self.left}, top {self.top} lies outside the image: both must be below 1",
                param="controls",
            )
        _check_factor(self.factor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A square of an image, in pixels. Raises InvalidInput for a negative corner or a size below 1."""

    x: int  # left edge
    y: int  # upper edge
    size: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.size < 1:
            raise InvalidInput(
                f"crop at {self.x}, {self.y} of size {self.size}: the corner must be 0 or more, the size 1 or more",
                param="size",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlOptions:
    """How the controls of a prompt act on the model."""

    contextual_threshold: float | None = None  # cosine (-1..1) from which similar tokens are steered too; None: off
    log_additive: bool = True  # add log f to the attention scores; False: scale (score - minimum) by f
    target: ControlTarget = ControlTarget.AUTO

    def __post_init__(self) -> None:
        threshold = self.contextual_threshold
        if threshold is not None and not -1 <= threshold <= 1:
            raise InvalidControl(
                f"contextual control threshold {threshold}: must be between -1 and 1", param="contextual_threshold"
            )


def _check_factor(factor: float, lowest: float = 0.0) -> None:
    if not (math.isfinite(factor) and lowest <= factor <= MAX_FACTOR):
        raise InvalidControl(
            f"control factor {factor}: must be a number from {lowest:g} to {MAX_FACTOR:g}", param="controls"
        )
