"""The documents that the ingestion benchmark loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from bench.corpus import DATA, records
from bench.embedding import source_texts
from core.records import Document


def documents(files: Sequence[Path], count: int) -> list[Document]:
    """`count` documents, taken in turn from each of the NDJSON files, which may be gzipped.

    Without files, they come from the test collections; where these are missing, from docstrings of Python's library.
    If there are too few, they are repeated with a prefix that makes the text different.
    """
    sources = list(files) or sorted(DATA.glob("*/corpus.jsonl.gz"))
    if sources:
        rows = zip_longest(*(islice(_lines(source), count) for source in sources))
        found = [(title, text) for title, text in (row for row in chain.from_iterable(rows) if row) if text.strip()]
    else:
        found = [("", text) for text in source_texts(None) if text]
    made = []
    for number in range(count):
        copy, (title, text) = number // len(found), found[number % len(found)]
        made.append(Document(id=f"d{number}", title=title, text=f"Copy {copy}. {text}" if copy else text))
    return made


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    for row in records(file):
        yield str(row.get("title") or ""), str(row.get("text") or "")
