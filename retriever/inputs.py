"""Query inputs other than text: prompt items, dense and sparse vectors, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import InvalidQuery
from core.prompts import ImageItem, Prompt, PromptItem, TextControl, TextItem
from core.records import Float32Array, SparseVector

MAX_EXAMPLES = 100  # of a query, liked and unliked ones together
MAX_WEIGHTS = 10_000  # of a sparse vector
MAX_DIMENSIONS = 65_536  # no model has more
MAX_ITEMS = 100  # of a prompt

Example = str | int  # the id of a document (str) or of a hit (int)


def no_document(id_: str) -> str:
    """The message about a document that is not there; of a number that may be a hit's, how a hit is named."""
    number = id_.isascii() and id_.isdigit() and len(id_) <= 18
    hint = f"; the hit {id_} is named by a number, on the command line by '#{id_}'" if number else ""
    return f"there is no document {id_!r:.140} in this collection{hint}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """The inputs of a query besides its text. Raises InvalidQuery for too many examples, or a duplicate one."""

    prompt: Prompt | None = None  # read by the models instead of the text
    vector: Float32Array | None = None  # (dimension,) of unit length: used by the dense leg instead of an embedding
    sparse_vector: SparseVector | None = None  # used by the learned leg instead of its model's output
    like: tuple[Example, ...] = ()  # find documents like these
    unlike: tuple[Example, ...] = ()  # and unlike these

    def __post_init__(self) -> None:
        examples = (*self.like, *self.unlike)
        if len(examples) > MAX_EXAMPLES:
            raise InvalidQuery(f"{len(examples)} examples; like and unlike may name {MAX_EXAMPLES}", param="like")
        again = next((example for place, example in enumerate(examples) if example in examples[:place]), None)
        if again is not None:
            raise InvalidQuery(f"like and unlike name {again!r:.140} twice; name each example once", param="like")

    @property
    def in_text(self) -> bool:
        """Whether the models read only texts."""
        return self.prompt is None or all(isinstance(item, TextItem) for item in self.prompt.items)

    @property
    def text_alone(self) -> bool:
        """Whether the query consists of text only."""
        return self.in_text and self.vector is None and not self.like and not self.unlike

    @property
    def searchable(self) -> bool:
        """Whether the query can be searched without a text of its own."""
        return self.prompt is not None or self.wordless

    @property
    def wordless(self) -> bool:
        """Whether the query can be searched without any words."""
        return not self.in_text or self.vector is not None or self.sparse_vector is not None or bool(self.like)


def dense_input(values: Sequence[float]) -> Float32Array:
    """The vector scaled to unit length, so that scores are cosines.

    Raises InvalidQuery for a vector of zeros, of a wrong length (1 to MAX_DIMENSIONS are allowed) or with values that
    are not finite.
    """
    if not 0 < len(values) <= MAX_DIMENSIONS:
        raise InvalidQuery(f"vector has {len(values)} numbers; 1 to {MAX_DIMENSIONS} are allowed", param="vector")
    given = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(given))
    if len(bad):
        raise InvalidQuery(f"vector[{bad[0]}] is {given[bad[0]]}; all numbers must be finite", param="vector")
    largest = np.abs(given).max()
    if largest == 0:
        raise InvalidQuery("vector has nothing but zeros: it points nowhere, so nothing is near it", param="vector")
    given = given / largest  # so that no square overflows or underflows
    unit: Float32Array = (given / np.linalg.norm(given)).astype(np.float32)
    return unit


def sparse_input(weights: Mapping[int, float]) -> SparseVector:
    """A sparse vector from weights by token id of the model's vocabulary; zeros are left out. Raises InvalidQuery."""
    if len(weights) > MAX_WEIGHTS:
        raise InvalidQuery(
            f"sparse_vector has {len(weights)} weights; at most {MAX_WEIGHTS} are allowed", param="sparse_vector"
        )
    for id_, weight in weights.items():
        if not 0 <= id_ < 2**31:
            raise InvalidQuery(
                f"sparse_vector has token id {id_!s:.40}; allowed are 0 to {2**31 - 1}", param="sparse_vector"
            )
        if not 0 <= weight <= float(np.finfo(np.float32).max):
            raise InvalidQuery(
                f"sparse_vector gives token {id_} the weight {weight}; it must be a finite number, 0 or more",
                param="sparse_vector",
            )
    kept = sorted((id_, weight) for id_, weight in weights.items() if np.float32(weight) > 0)
    if not kept:
        raise InvalidQuery("sparse_vector has no weight above 0: there is nothing to look for", param="sparse_vector")
    return SparseVector(
        ids=np.array([id_ for id_, _ in kept], dtype=np.int32),
        weights=np.array([weight for _, weight in kept], dtype=np.float32),
    )


def text_of(prompt: Prompt) -> tuple[str, tuple[TextControl, ...]]:
    """The text of the items, one line each, with their controls as spans of it: the query that BM25 searches for."""
    lines: list[str] = []
    controls: list[TextControl] = []
    start = 0
    for item in prompt.items:
        if isinstance(item, TextItem) and item.text:
            lines.append(item.text)
            for control in item.controls:
                length = min(control.end, len(item.text)) - control.start
                controls.append(replace(control, start=start + control.start, length=length))
            start += len(item.text) + 1
    return "\n".join(lines), tuple(controls)


def without_images(prompt: Prompt) -> Prompt | None:
    """The prompt without images, for models that read only text; None if nothing is left."""
    items: tuple[PromptItem, ...] = tuple(item for item in prompt.items if not isinstance(item, ImageItem))
    return Prompt(items=items) if items else None
