"""Writes files for readers, and reads them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fpdf import FPDF

from indexer.readers import Format, read
from indexer.records import Record, RecordError, Skipped


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def records(path: Path, format: Format | None = None) -> list[Record]:
    found = list(read(path, format=format))
    assert all(isinstance(item, Record) for item in found), found
    return [item for item in found if isinstance(item, Record)]


def only_error(path: Path, format: Format | None = None) -> RecordError:
    (error,) = read(path, format=format)
    assert isinstance(error, RecordError)
    return error


def split_errors(items: Iterator[Record | RecordError | Skipped]) -> tuple[list[Record], list[RecordError]]:
    found = list(items)
    return (
        [item for item in found if isinstance(item, Record)],
        [item for item in found if isinstance(item, RecordError)],
    )


def pdf(*pages: str, title: str = "", password: str | None = None) -> bytes:
    document = FPDF()
    document.set_font("Helvetica", size=12)
    if title:
        document.set_title(title)
    for page in pages:
        document.add_page()
        document.multi_cell(0, 6, page)
    if password is not None:
        document.set_encryption(owner_password="owner", user_password=password)
    return bytes(document.output())
