"""The supported file formats, and how to detect them: by extension or by the first bytes."""

from __future__ import annotations

import difflib
import json
from enum import StrEnum
from pathlib import PurePath

from core.errors import UnreadableFile
from indexer.readers.encoding import marked


class Format(StrEnum):
    """The formats that can be read; the values are the names that users give."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    PDF = "pdf"


EXTENSIONS = {
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".xhtml": Format.HTML,
    ".pdf": Format.PDF,
}


def parse_format(name: str) -> Format:
    """The format of this name. Raises UnreadableFile, which lists the names."""
    try:
        return Format(name.lower())
    except ValueError:
        near = difflib.get_close_matches(name.lower(), list(Format), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UnreadableFile(
            f"unknown format {name!r}: allowed are {', '.join(Format)}{hint}", param="format"
        ) from None


def extension(path: PurePath) -> str:
    """The file's extension in lower case, ignoring a final `.gz`: ".csv" for "Prices.CSV.gz"; "" without one."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.suffix.lower()


def sniff(head: bytes, encoding: str | None = None) -> Format:
    """Guess the format from a stream's first bytes: PDF, JSON, NDJSON or HTML, else plain text.

    `encoding` applies to text without a byte order mark. CSV, TSV and Markdown are never detected: they cannot be
    distinguished from plain text with certainty, so the user has to name them.
    """
    if head.startswith(b"%PDF-"):
        return Format.PDF
    text = head.decode(marked(head) or encoding or "utf-8", errors="ignore").lstrip()
    if text.startswith("{"):
        return Format.NDJSON if _complete_object(text.partition("\n")[0]) else Format.JSON
    if text.startswith("["):
        return Format.JSON
    if text[:200].lower().startswith(("<!doctype html", "<html", "<head", "<body", "<?xml")):
        return Format.HTML
    return Format.TEXT


def _complete_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
