"""Read the test collections next to the checkout, in the layout that `salience eval` reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of an NDJSON file, which may be gzipped."""
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def texts(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (id, text) for each document; the text starts with the title, and is "-" if both are empty."""
    for record in records(file):
        yield record["_id"], f"{record.get('title') or ''} {record['text']}".strip() or "-"
