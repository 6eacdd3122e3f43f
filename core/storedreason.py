"""Formats the reasons why jobs and reindexes wait or failed, for storage and for callers with fewer rights."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import SalienceError, StorageError


def stored_reason(error: SalienceError) -> str:
    """The text to store. For a StorageError it begins with the error's code, so that `public_reason` recognises it."""
    return f"{error.code}: {error.message}" if isinstance(error, StorageError) else error.message


def public_reason(reason: str) -> str:
    """A stored reason for callers who may not learn where the data lies and which processes there are.

    The message of a StorageError is replaced by the default one of its class.
    """
    kind = _KINDS.get(reason.partition(": ")[0])
    return reason if kind is None else kind().message


def _with_subclasses(kind: type[StorageError]) -> Iterator[type[StorageError]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _with_subclasses(subclass)


_KINDS = {kind.code: kind for kind in _with_subclasses(StorageError)}
