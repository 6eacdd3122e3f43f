"""Why a job or a reindex waits, or failed: as it is written down with it, and as those are told who may know less."""

from __future__ import annotations

from core.errors import SalienceError, StorageError

_ALL: list[type[StorageError]] = [StorageError]
_ALL += StorageError.__subclasses__()
_KINDS = {kind.code: kind for kind in _ALL}


def stored_reason(error: SalienceError) -> str:
    """What is written down. That of a StorageError begins with its code, by which `public_reason` knows it."""
    return f"{error.code}: {error.message}" if isinstance(error, StorageError) else error.message


def public_reason(reason: str) -> str:
    """A stored reason for those who are not to know where the data lies, and which processes there are."""
    kind = _KINDS.get(reason.partition(": ")[0])
    return reason if kind is None else kind().message
