"""Cutting what comes in into batches that one transaction stores, while other writers wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from store.batch import Draft

BATCH_DOCUMENTS = 128
BATCH_CHARACTERS = 400_000  # of texts, titles, and metadata as JSON: its values are rows, too

_T = TypeVar("_T")


def batches(items: Iterable[_T], size: Callable[[_T], int]) -> Iterator[list[_T]]:
    """The items, each of `size` characters, in their order; what is over BATCH_CHARACTERS by itself is a batch."""
    batch: list[_T] = []
    characters = 0
    for item in items:
        more = size(item)
        if batch and characters + more > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(item)
        characters += more
        if len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def characters_of(draft: Draft) -> int:
    """What the document has of them."""
    return len(draft.document.title) + len(draft.document.text) + len(draft.metadata.json)
