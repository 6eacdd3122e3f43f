"""Readers for formats with one document per file: plain text, Markdown, HTML and PDF."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from core.errors import TooLarge
from indexer.readers import markup
from indexer.readers.encoding import Decoder
from indexer.readers.pdf import extract
from indexer.records import Origin, Record, Shape

MAX_FILE_BYTES = 256_000_000


def read_text(stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder) -> Iterator[Record]:
    """The whole file as one text; the title is the file's name."""
    yield _record(origin, title="", text=decoder.text(read_all(stream)))


def read_markdown(stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder) -> Iterator[Record]:
    """The text without its markup; the title is from the front matter or the first heading."""
    title, text = markup.markdown_text(decoder.text(read_all(stream)))
    yield _record(origin, title=title, text=text)


def read_html(stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder) -> Iterator[Record]:
    """The page's visible text; the title is the page's title or first heading."""
    title, text = markup.html_text(read_all(stream), decoder)
    yield _record(origin, title=title, text=text)


def read_pdf(stream: io.BufferedReader, head: bytes, origin: Origin, decoder: Decoder) -> Iterator[Record]:
    """The text of all pages; the title is from the PDF's metadata. Raises UnreadableFile where there is no text."""
    title, pages = extract(read_all(stream))
    yield _record(origin, title=title, text="\n\n".join(page for page in pages if page), pages=len(pages))


def read_all(stream: io.BufferedReader) -> bytes:
    """Read the rest of the stream. Raises TooLarge over MAX_FILE_BYTES, so that a gzip bomb cannot fill the memory."""
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(f"the file is larger than {MAX_FILE_BYTES} bytes; split it, or convert it to NDJSON")
    return data


def _record(origin: Origin, *, title: str, text: str, **metadata: int) -> Record:
    name = PurePosixPath(origin.path)
    stem = (name.with_suffix("") if name.suffix.lower() == ".gz" else name).stem
    fields = {
        "id": origin.path,
        "title": re.sub(r"\s+", " ", title).strip() or stem,
        "text": text.replace("\r\n", "\n").replace("\r", "\n").strip(),
        "metadata": {"path": origin.path, **metadata},
    }
    return Record(fields=fields, origin=origin, shape=Shape.FILE)
