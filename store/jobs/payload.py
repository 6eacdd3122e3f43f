"""Serialisation of the documents that wait in a job: a batch is one JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.records import Document
from store.controls import control_rows, controls_of


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedDocument:
    """A document and where it came from."""

    document: Document
    path: str | None = None
    line: int | None = None  # 1-based


def pack(items: Iterable[QueuedDocument]) -> bytes:
    """`[[id, title, text, metadata, path, line], ...]`; a document with controls has them as a seventh element."""
    return joined(map(packed, items))


def packed(item: QueuedDocument) -> str:
    """The JSON of one document, for `joined`."""
    return json.dumps(_row(item), ensure_ascii=False, separators=(",", ":"))


def joined(rows: Iterable[str]) -> bytes:
    """The result of `pack` for documents that are already `packed`."""
    # A file name may hold bytes that are not UTF-8; they are restored unchanged.
    return f"[{','.join(rows)}]".encode("utf-8", "surrogatepass")


def unpack(payload: bytes) -> list[QueuedDocument]:
    """The inverse of `pack`, in the same order."""
    return [_document(*row) for row in json.loads(payload.decode("utf-8", "surrogatepass"))]


def _row(item: QueuedDocument) -> list[Any]:
    document = item.document
    row = [document.id, document.title, document.text, document.metadata, item.path, item.line]
    return [*row, control_rows(document.controls)] if document.controls else row


def _document(
    id_: str,
    title: str,
    text: str,
    metadata: Mapping[str, Any],
    path: str | None,
    line: int | None,
    controls: Sequence[Sequence[float]] = (),
) -> QueuedDocument:
    document = Document(id=id_, title=title, text=text, metadata=metadata, controls=controls_of(controls))
    return QueuedDocument(document=document, path=path, line=line)
