"""The JSON of search inputs other than text: prompts, vectors, examples and controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.schemas.base import RequestModel
from app.schemas.base64data import decoded_base64
from core.errors import InvalidInput, InvalidQuery
from core.prompts import (
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
from core.records import SparseVector
from retriever.inputs import MAX_DIMENSIONS, MAX_EXAMPLES, MAX_ITEMS, MAX_WEIGHTS, Inputs, dense_input, sparse_input
from retriever.query import MAX_CONTROLS
from store.schema import MAX_ID

MAX_TOKEN_IDS = 100_000  # per item; models read far fewer
Overlap = Literal["partial", "complete"]


class ControlBody(RequestModel):
    """Emphasis (factor above 1), suppression (below 1) or the opposite (below 0) of a span of the query's text."""

    start: int = Field(description="first character, in code points of the text without boost marks")
    length: int = Field(description="in code points")
    factor: float = Field(description="0 suppresses fully, 1 changes nothing, below 0 pushes away from what it says")
    token_overlap: Overlap = Field(
        "partial", description="a token that is touched in part: steered in part, or in full"
    )

    def to_control(self) -> TextControl:
        return TextControl(
            start=self.start, length=self.length, factor=self.factor, token_overlap=TokenOverlap(self.token_overlap)
        )


class TokenControlBody(RequestModel):
    index: int = Field(description="of the token in its item, from 0")
    factor: float = Field(description="0 suppresses fully, 1 changes nothing")


class ImageControlBody(RequestModel):
    """Emphasis or suppression of a rectangle, in shares of the whole image from its upper left corner."""

    left: float = Field(description="0 to 1, of the image's width")
    top: float = Field(description="0 to 1, of the image's height")
    width: float = Field(description="0 to 1, of the image's width")
    height: float = Field(description="0 to 1, of the image's height")
    factor: float = Field(description="0 suppresses fully, 1 changes nothing")
    token_overlap: Overlap = Field("partial", description="a patch that is touched in part: in part, or in full")


class CropBody(RequestModel):
    """The square that the model sees, in pixels."""

    x: int = Field(description="left edge, in pixels of the upright image")
    y: int = Field(description="upper edge, in pixels")
    size: int = Field(description="width and height, in pixels")


class TextItemBody(RequestModel):
    type: Literal["text"] = Field(description="the kind of item")
    text: str = Field(description="what is read")
    controls: list[ControlBody] = Field(
        default_factory=list, max_length=MAX_CONTROLS, description="factors by span of this text"
    )

    def to_item(self) -> PromptItem:
        return TextItem(text=self.text, controls=tuple(control.to_control() for control in self.controls))


class TokenIdsItemBody(RequestModel):
    type: Literal["token_ids"] = Field(description="the kind of item")
    ids: list[int] = Field(description="of the model's own vocabulary", min_length=1, max_length=MAX_TOKEN_IDS)
    controls: list[TokenControlBody] = Field(
        default_factory=list, max_length=MAX_CONTROLS, description="factors by token"
    )

    def to_item(self) -> PromptItem:
        controls = tuple(TokenControl(index=control.index, factor=control.factor) for control in self.controls)
        return TokenIdsItem(ids=tuple(self.ids), controls=controls)


class ImageItemBody(RequestModel):
    type: Literal["image"] = Field(description="the kind of item")
    data: str = Field(description="the image's file (PNG, JPEG, WebP ...) in base64")
    crop: CropBody | None = Field(None, description="null: the largest square in the centre")
    controls: list[ImageControlBody] = Field(
        default_factory=list, max_length=MAX_CONTROLS, description="factors by rectangle"
    )

    def to_item(self) -> PromptItem:
        controls = tuple(
            ImageControl(
                left=control.left,
                top=control.top,
                width=control.width,
                height=control.height,
                factor=control.factor,
                token_overlap=TokenOverlap(control.token_overlap),
            )
            for control in self.controls
        )
        crop = None if self.crop is None else Crop(x=self.crop.x, y=self.crop.y, size=self.crop.size)
        return ImageItem(data=decoded_base64(self.data, "data"), crop=crop, controls=controls)


ItemBody = Annotated[TextItemBody | TokenIdsItemBody | ImageItemBody, Field(discriminator="type")]
HitId = Annotated[int, Field(ge=1, le=MAX_ID)]


def _document_or_hit(value: Any) -> Any:
    """A union would say of each of its kinds what is wrong with the value, and where, by a name of pydantic's."""
    if isinstance(value, str) or (type(value) is int and 1 <= value <= MAX_ID):
        return value
    raise PydanticCustomError("document_or_hit", "must be the id of a document, a text, or that of a hit, an integer")


DocumentOrHit = Annotated[str | HitId, BeforeValidator(_document_or_hit)]


class SparseVectorBody(RequestModel):
    ids: list[int] = Field(description="token ids of the sparse model's vocabulary, each once", max_length=MAX_WEIGHTS)
    weights: list[float] = Field(description="of the tokens, in the same order, 0 or more", max_length=MAX_WEIGHTS)

    def to_vector(self) -> SparseVector:
        """The vector. Raises InvalidQuery if ids and weights do not match, or an id is repeated."""
        if len(self.ids) != len(self.weights):
            raise InvalidQuery(
                f"sparse_vector has {len(self.ids)} ids and {len(self.weights)} weights; each id needs one",
                param="sparse_vector",
            )
        if len(set(self.ids)) < len(self.ids):
            raise InvalidQuery("sparse_vector names a token id twice; give each once", param="sparse_vector")
        return sparse_input(dict(zip(self.ids, self.weights, strict=True)))


class InputsBody(RequestModel):
    """Inputs in addition to the query's text, or in place of it."""

    prompt: list[ItemBody] | None = Field(
        None,
        description="in place of query: items that the models read one behind the other",
        min_length=1,
        max_length=MAX_ITEMS,
    )
    vector: list[float] | None = Field(
        None,
        description="what the dense leg compares with, made by the collection's model; the query's text is then left "
        "to the other legs",
        max_length=MAX_DIMENSIONS,
    )
    sparse_vector: SparseVectorBody | None = Field(None, description="what the leg of learned weights compares with")
    like: list[DocumentOrHit] = Field(
        default_factory=list,
        description="more like these: ids of documents (texts) or of hits (numbers)",
        max_length=MAX_EXAMPLES,
        examples=[["radio"]],
    )
    unlike: list[DocumentOrHit] = Field(
        default_factory=list, description="and less like those", max_length=MAX_EXAMPLES
    )

    def to_inputs(self) -> Inputs:
        """The inputs; a prompt that is only one text is left out. Raises InvalidQuery, InvalidControl, InvalidInput."""
        prompt = self.to_prompt()
        return Inputs(
            prompt=None if prompt is None or text_alone(prompt) is not None else prompt,
            vector=None if self.vector is None else dense_input(self.vector),
            sparse_vector=None if self.sparse_vector is None else self.sparse_vector.to_vector(),
            like=tuple(self.like),
            unlike=tuple(self.unlike),
        )

    def to_prompt(self) -> Prompt | None:
        """The prompt, if any. Raises InvalidInput and InvalidControl, which name the item."""
        if self.prompt is None:
            return None
        return Prompt(items=tuple(_item(body, f"prompt[{place}]") for place, body in enumerate(self.prompt)))


def text_alone(prompt: Prompt) -> TextItem | None:
    """The item of a prompt that consists of a single text; None for any other prompt."""
    [item, *more] = prompt.items
    return item if isinstance(item, TextItem) and not more else None


def _item(body: TextItemBody | TokenIdsItemBody | ImageItemBody, place: str) -> PromptItem:
    try:
        return body.to_item()
    except InvalidInput as error:
        raise error.at(place, param=place) from error
