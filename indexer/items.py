"""Separate the documents of a run from its errors, omissions and duplicates, which are noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from core.records import Document
from indexer.duplicates import Duplicates
from indexer.records import Duplicate, Origin, RecordError, Skipped

Item = Document | RecordError | Skipped
Notice = RecordError | Skipped | Duplicate


def documents_among(
    items: Iterable[tuple[Origin | None, Item]],
    *,
    count: Callable[[], None],
    note: Callable[[Notice, Origin | None], None],
) -> Iterator[tuple[Origin | None, Document]]:
    """Yield the documents among `items`, and call `note` for everything else and for each repeated id.

    A document with a repeated id is yielded all the same; an id counts as repeated even if its first document cannot be
    stored. `count` is called for each document, and for each error in place of one, before anything about it is noted.
    """
    known = Duplicates()
    for origin, item in items:
        if not isinstance(item, Skipped):
            count()
        if not isinstance(item, Document):
            note(item, origin)
            continue
        if known.seen(item.id):
            note(Duplicate(id=item.id), origin)
        yield origin, item
