"""Documents as they wait in a job: a batch of them is one JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from core.records import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedDocument:
    """A document and where it came from."""

    document: Document
    path: str | None = None
    line: int | None = None  # 1-based


def pack(items: Iterable[QueuedDocument]) -> bytes:
    """`[[id, title, text, metadata, path, line], ...]`"""
    rows = [
        [item.document.id, item.document.title, item.document.text, item.document.metadata, item.path, item.line]
        for item in items
    ]
    # The name of a file may hold bytes that are no UTF-8; they come back as they went in.
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def unpack(payload: bytes) -> list[QueuedDocument]:
    """What `pack` was given, in its order."""
    return [
        QueuedDocument(document=Document(id=id_, title=title, text=text, metadata=metadata), path=path, line=line)
        for id_, title, text, metadata, path, line in json.loads(payload.decode("utf-8", "surrogatepass"))
    ]
