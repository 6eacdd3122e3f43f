"""salience stats: shows what a data directory holds, and what takes up disk space."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, plain, print_json, table
from store.statistics import CollectionStatistics, Statistics, statistics


def stats(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show what the data directory holds, what takes the room, and what waits.

    Also what was left unfinished, and which processes are at work. Reads the whole file once.
    """
    directory = open_existing(data_dir).settings.data_dir
    found = statistics(directory)
    if as_json:
        body = asdict(found)
        for one, leftover in zip(body["leftovers"], found.leftovers, strict=True):
            one["path"] = str(leftover.path)
        print_json({"data_dir": str(directory), **body})
        return
    out.print(f"{directory}  schema {found.version}  last seq {found.seq:,}")
    out.print()
    out.print(_sizes(found))
    if found.bytes_by_kind is None:
        note("this Python's SQLite was built without dbstat: bytes by kind are not known")
    if found.collections:
        out.print()
        out.print(_collections(found))
        out.print()
        out.print(_segments(found))
    out.print()
    for line in _work(found):
        out.print(plain(line))


_PARTS = {"vector": "vectors", "posting": "postings of terms", "learned": "learned weights"}


def _sizes(found: Statistics) -> Table:
    rows = table("kind", "MiB", numbers=("MiB",))
    for kind, size in (found.bytes_by_kind or {}).items():
        rows.add_row(kind, _mebibytes(size))
        if kind == "embeddings":
            for part in ("vector", "posting", "learned"):
                content = sum(int(getattr(one, f"{part}_bytes")) for one in found.collections)
                rows.add_row(f"  {_PARTS[part]}", _mebibytes(content))
    rows.add_row("free pages", _mebibytes(found.free_bytes))
    rows.add_row("the file", _mebibytes(found.file_bytes), style="bold")
    rows.add_row("write-ahead log", _mebibytes(found.wal_bytes))
    rows.add_row("segments", _mebibytes(found.segment_files.bytes))
    return rows


def _collections(found: Statistics) -> Table:
    counted = ("documents", "passages", "embeddings", "terms", "last seq")
    rows = table("collection", *counted, numbers=counted)
    for one in found.collections:
        counts = (one.documents, one.passages, one.embeddings, one.terms, one.seq)
        rows.add_row(one.name, *(f"{count:,}" for count in counts))
    return rows


def _segments(found: Statistics) -> Table:
    # The last column is only shown if a collection has passages in Milvus.
    indexed = any(one.elsewhere for one in found.collections)
    headings = ("files", "rows", "live", "tombstones", "MiB", "not sealed yet", *(("in Milvus",) if indexed else ()))
    rows = table("segments of", *headings, numbers=headings)
    for one in found.collections:
        rows.add_row(one.name, *_segment_cells(one), *((f"{one.elsewhere:,}",) if indexed else ()))
    return rows


def _segment_cells(one: CollectionStatistics) -> list[str]:
    held = one.segments
    counts = [f"{count:,}" for count in (held.files, held.rows, held.rows - held.tombstones, held.tombstones)]
    return [*counts, _mebibytes(held.bytes), f"{one.unsealed:,}"]


def _work(found: Statistics) -> list[str]:
    """Lines about waiting work, leftovers to clean up, and the processes at work."""
    jobs = "  ".join(f"{state} {count:,}" for state, count in found.jobs.items())
    lines = [f"jobs  {jobs or 'none'}"]
    if found.waiting_documents:
        lines.append(f"waiting in jobs  {found.waiting_documents:,} documents")
    if found.deleted:
        lines.append(f"deleted collections  {found.deleted:,}, whose rows will go")
    files = found.segment_files
    if files.retired or files.strays:
        strays = f"{files.strays:,} files of none ({_mebibytes(files.stray_bytes)} MiB)"
        lines.append(f"segments that will go  {files.retired:,} retired, {strays}")
    for left in found.leftovers:
        age = f"unchanged for {left.age_seconds / 3600:,.1f} hours"
        lines.append(f"unfinished  {left.path}  {_mebibytes(left.bytes)} MiB, {age}")
    lines += [f"open in  {process}" for process in found.processes]
    lines.append(f"maintained by  {found.maintained_by or 'nobody now'}")
    return lines


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f}"
