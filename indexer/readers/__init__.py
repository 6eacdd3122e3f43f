"""Files, folders and streams to records: NDJSON, JSON, CSV, TSV, plain text, Markdown, HTML and PDF, each gzip too."""

from __future__ import annotations

from indexer.readers.formats import Format
from indexer.readers.source import read, read_stream

__all__ = ["Format", "read", "read_stream"]
