"""salience stats: what a data directory holds, and what takes the room."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, print_json
from store.statistics import Statistics, statistics


def stats(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show what the data directory holds and what takes the room.

    Reads the whole file once.
    """
    directory = open_existing(data_dir).settings.data_dir
    found = statistics(directory)
    if as_json:
        print_json({"data_dir": str(directory), **asdict(found)})
        return
    out.print(f"{directory}  schema {found.version}  last seq {found.seq:,}")
    out.print()
    out.print(_sizes(found))
    if found.bytes_by_kind is None:
        note("this Python's SQLite was built without dbstat: bytes by kind are not known")
    if found.collections:
        out.print()
        out.print(_collections(found))
    if found.jobs:
        out.print()
        out.print("jobs  " + "  ".join(f"{state} {count:,}" for state, count in found.jobs.items()))


def _sizes(found: Statistics) -> Table:
    table = _table("kind", "MiB")
    for kind, size in (found.bytes_by_kind or {}).items():
        table.add_row(kind, _mebibytes(size))
        if kind == "embeddings":
            for part in ("vector", "posting", "learned"):
                content = sum(int(getattr(one, f"{part}_bytes")) for one in found.collections)
                table.add_row(f"  {_PARTS[part]}", _mebibytes(content))
    table.add_row("free pages", _mebibytes(found.free_bytes))
    table.add_row("the file", _mebibytes(found.file_bytes), style="bold")
    table.add_row("write-ahead log", _mebibytes(found.wal_bytes))
    return table


_PARTS = {"vector": "vectors", "posting": "postings of terms", "learned": "learned weights"}


def _collections(found: Statistics) -> Table:
    table = _table("collection", "documents", "passages", "embeddings", "terms", "last seq")
    for one in found.collections:
        counts = (one.documents, one.passages, one.embeddings, one.terms, one.seq)
        table.add_row(one.name, *(f"{count:,}" for count in counts))
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f}"
