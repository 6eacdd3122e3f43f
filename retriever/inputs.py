"""What a query may say beside its text or in place of it: items of a prompt, vectors, examples."""

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

Example = str | int  # a document's id, or a hit's


def no_document(id_: str) -> str:
    """The message about a document that is not there; of a number that may be a hit's, how a hit is named."""
    number = id_.isascii() and id_.isdigit() and len(id_) <= 18
    hint = f"; the hit {id_} is named by a number, on the command line by '#{id_}'" if number else ""
    return f"there is no document {id_!r:.140} in this collection{hint}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Raises InvalidQuery for too many examples, or one that is given twice."""

    prompt: Prompt | None = None  # what the models read in place of the text
    vector: Float32Array | None = None  # (dimension,) of unit length: the dense leg's, in place of an embedding
    sparse_vector: SparseVector | None = None  # the learned leg's, in place of what its model makes
    like: tuple[Example, ...] = ()  # more like these
    unlike: tuple[Example, ...] = ()  # and less like those

    def __post_init__(self) -> None:
        examples = (*self.like, *self.unlike)
        if len(examples) > MAX_EXAMPLES:
            raise InvalidQuery(f"{len(examples)} examples; like and unlike may name {MAX_EXAMPLES}", param="like")
        again = next((example for place, example in enumerate(examples) if example in examples[:place]), None)
        if again is not None:
            raise InvalidQuery(f"like and unlike name {again!r:.140} twice; name each example once", param="like")

    @property
    def in_text(self) -> bool:
        """Whether all that the models read is texts."""
        return self.prompt is None or all(isinstance(item, TextItem) for item in self.prompt.items)

    @property
    def text_alone(self) -> bool:
        """Whether the query's text says all that is asked for."""
        return self.in_text and self.vector is None and not self.like and not self.unlike

    @property
    def searchable(self) -> bool:
        """Whether there is something to look for without a text of the query's own."""
        return self.prompt is not None or self.wordless

    @property
    def wordless(self) -> bool:
        """Whether there is something to look for without any word."""
        return not self.in_text or self.vector is not None or self.sparse_vector is not None or bool(self.like)


def dense_input(values: Sequence[float]) -> Float32Array:
    """The vector, brought to unit length: a score is a cosine. Raises InvalidQuery for one that has no direction."""
    if not 0 < len(values) <= MAX_DIMENSIONS:
        raise InvalidQuery(f"vector has {len(values)} numbers; 1 to {MAX_DIMENSIONS} are allowed", param="vector")
    given = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(given))
    if len(bad):
        raise InvalidQuery(f"vector[{bad[0]}] is {given[bad[0]]}; all numbers must be finite", param="vector")
    largest = np.abs(given).max()
    if largest == 0:
        raise InvalidQuery("vector has nothing but zeros: it points nowhere, so nothing is near it", param="vector")
    given = given / largest  # so that no square overflows, or becomes 0
    unit: Float32Array = (given / np.linalg.norm(given)).astype(np.float32)
    return unit


def sparse_input(weights: Mapping[int, float]) -> SparseVector:
    """Weights by token id of the model's vocabulary; zeros are left out. Raises InvalidQuery."""
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
    """What the items say in words, a line for each, and their controls as spans of that: what BM25 looks for."""
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
    """What a model of texts alone can read of it; None where that is nothing."""
    items: tuple[PromptItem, ...] = tuple(item for item in prompt.items if not isinstance(item, ImageItem))
    return Prompt(items=items) if items else None
