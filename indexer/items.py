"""What comes into a run: the documents among its items, and what is noted of the others."""

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
    """The documents among `items`; all else is noted, and so is the id of a document that came before, stored or not.

    `count` is called for each document, and for each error in place of one, before anything of it is noted.
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
