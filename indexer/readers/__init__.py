"""Read files, folders and streams: NDJSON, JSON, CSV, TSV, plain text, Markdown, HTML and PDF, all also gzipped."""

from __future__ import annotations

from indexer.readers.formats import Format
from indexer.readers.source import read, read_stream

__all__ = ["Format", "read", "read_stream"]
