"""How jobs and reindexes store why they wait or failed, and how that is shown to callers who may know less."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import SalienceError, StorageError


def stored_reason(error: SalienceError) -> str:
    """The text to store. For a StorageError it begins with the code, by which `public_reason` recognises it."""
    return f"{error.code}: {error.message}" if isinstance(error, StorageError) else error.message


def public_reason(reason: str) -> str:
    """A stored reason for those who are not to know where the data lies, and which processes there are."""
    kind = _KINDS.get(reason.partition(": ")[0])
    return reason if kind is None else kind().message


def _with_subclasses(kind: type[StorageError]) -> Iterator[type[StorageError]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _with_subclasses(subclass)


_KINDS = {kind.code: kind for kind in _with_subclasses(StorageError)}
