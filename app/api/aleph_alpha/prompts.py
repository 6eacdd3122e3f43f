"""The JSON of prompts in the Aleph Alpha API: a text, or a sequence of text, token id and image items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, FailFast, Field, Tag

from app.api.aleph_alpha.bodies import Part
from app.api.bodies import MAX_TOKEN_IDS
from app.schemas.base64data import decoded_base64
from core.errors import InvalidControl, InvalidInput
from core.prompts import (
    MAX_FACTOR,
    Crop,
    ImageControl,
    ImageItem,
    Prompt,
    PromptItem,
    TextControl,
    TextItem,
    TokenControl,
    TokenIdsItem,
    TokenOverlap,
)

MAX_ITEMS = 1_000  # of one prompt
MAX_CONTROLS = 10_000  # of one item


class TextControlBody(Part):
    start: int
    length: int
    factor: float
    token_overlap: Literal["partial", "complete"] = "partial"

    def to_control(self) -> TextControl:
        if not 0 <= self.factor <= MAX_FACTOR:  # below 0 pushes away elsewhere, but not in this API
            problem = f"control factor {self.factor}: must be a number from 0 to {MAX_FACTOR:g}"
            raise InvalidControl(problem, param="controls")
        return TextControl(
            start=self.start, length=self.length, factor=self.factor, token_overlap=TokenOverlap(self.token_overlap)
        )


class TokenControlBody(Part):
    index: int
    factor: float

    def to_control(self) -> TokenControl:
        return TokenControl(index=self.index, factor=self.factor)


class RectBody(Part):
    left: float
    top: float
    width: float
    height: float


class ImageControlBody(Part):
    rect: RectBody
    factor: float
    token_overlap: Literal["partial", "complete"] = "partial"

    def to_control(self) -> ImageControl:
        return ImageControl(
            left=self.rect.left,
            top=self.rect.top,
            width=self.rect.width,
            height=self.rect.height,
            factor=self.factor,
            token_overlap=TokenOverlap(self.token_overlap),
        )


class TextBody(Part):
    type: Literal["text"]
    data: str
    controls: Annotated[list[TextControlBody], FailFast()] = Field(default_factory=list, max_length=MAX_CONTROLS)

    def to_item(self) -> TextItem:
        return TextItem(text=self.data, controls=tuple(control.to_control() for control in self.controls))


class TokenIdsBody(Part):
    type: Literal["token_ids"]
    data: Annotated[list[int], FailFast(), Field(max_length=MAX_TOKEN_IDS)]
    controls: Annotated[list[TokenControlBody], FailFast()] = Field(default_factory=list, max_length=MAX_CONTROLS)

    def to_item(self) -> TokenIdsItem:
        return TokenIdsItem(ids=tuple(self.data), controls=tuple(control.to_control() for control in self.controls))


class ImageBody(Part):
    type: Literal["image"]
    data: str
    x: int | None = None
    y: int | None = None
    size: int | None = None
    controls: Annotated[list[ImageControlBody], FailFast()] = Field(default_factory=list, max_length=MAX_CONTROLS)

    def to_item(self) -> ImageItem:
        controls = tuple(control.to_control() for control in self.controls)
        return ImageItem(data=decoded_base64(self.data, "data"), crop=self._crop(), controls=controls)

    def _crop(self) -> Crop | None:
        if self.x is None and self.y is None and self.size is None:
            return None
        if self.x is None or self.y is None or self.size is None:
            raise InvalidInput("a crop needs all of x, y and size; leave all three out for the centre", param="size")
        return Crop(x=self.x, y=self.y, size=self.size)


def _one_text(value: Any) -> Any:
    return [{"type": "text", "data": value}] if isinstance(value, str) else value


def _item_type(value: Any) -> Any:
    """The item's type, or None if it is unknown: pydantic's own error would repeat the type, however long it is."""
    given = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return given if given in ("text", "token_ids", "image") else None


ItemBody = Annotated[
    Annotated[TextBody, Tag("text")] | Annotated[TokenIdsBody, Tag("token_ids")] | Annotated[ImageBody, Tag("image")],
    Discriminator(
        _item_type, custom_error_type="item_type", custom_error_message="type must be text, token_ids or image"
    ),
]
PromptBody = Annotated[list[ItemBody], FailFast(), Field(max_length=MAX_ITEMS), BeforeValidator(_one_text)]


def to_prompt(items: Sequence[ItemBody], place: str = "prompt") -> Prompt:
    """The prompt of these items. Raises InvalidInput and InvalidControl, which name the item and `place`."""
    if not items:
        raise InvalidInput(f"{place} has no items: at least one is needed", param=place)
    return Prompt(items=tuple(_item(body, f"{place}[{index}]") for index, body in enumerate(items)))


def _item(body: ItemBody, place: str) -> PromptItem:
    try:
        return body.to_item()
    except InvalidInput as error:
        raise error.at(place) from error
