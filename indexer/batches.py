"""Group incoming documents into batches, each small enough for one transaction, since other writers wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from store.batch import Draft

BATCH_DOCUMENTS = 128
BATCH_CHARACTERS = 400_000  # of texts, titles and metadata as JSON; metadata counts because its values are rows, too

_T = TypeVar("_T")


def batches(items: Iterable[_T], size: Callable[[_T], int]) -> Iterator[list[_T]]:
    """Yield the items in order, in batches of at most BATCH_DOCUMENTS items and BATCH_CHARACTERS characters.

    `size` gives an item's length in characters. An item longer than BATCH_CHARACTERS is a batch of its own.
    """
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
    """The approximate size of a document: characters of its title, its text and its metadata as JSON."""
    return len(draft.document.title) + len(draft.document.text) + len(draft.metadata.json)
