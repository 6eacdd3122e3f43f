"""salience compact: merges the segments of each collection into one, and frees disk space."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, print_json, table
from core.records import IndexKind
from store.catalog import get_collection, list_collections
from store.segments.upkeep import compact as compact_collection
from store.statistics import Room, room
from store.vacuum import tidy, vacuum


def compact(
    collection: Annotated[str | None, typer.Argument(help="The collection's name.", show_default="all of them")] = None,
    free: Annotated[
        bool,
        typer.Option(
            "--vacuum", help="Write the database file anew as well, which takes its room once more meanwhile."
        ),
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Merge the segments of each collection into one, and give room back.

    What was deleted goes from them. They are merged by and by anyway: this is for after many deletions. Others may go
    on searching and adding; with --vacuum, adding waits.

    [bold]Example[/bold]

      salience compact articles --vacuum
    """
    with open_existing(data_dir) as parts:
        database = parts.database
        before = room(database.directory)
        with database.read() as session:
            chosen = list_collections(session) if collection is None else [get_collection(session, collection)]
        for one in chosen:
            compact_collection(database, one)
        if free:
            vacuum(database)
        alone = tidy(database)
        after = room(database.directory)
    names = [one.name for one in chosen]
    elsewhere = [one.name for one in chosen if one.settings.index is IndexKind.MILVUS]
    if as_json:
        print_json({"before": _body(before, names), "after": _body(after, names)})
    else:
        out.print(_table(before, after, [name for name in names if name not in elsewhere]))
    if elsewhere:
        note(f"held by Milvus, and in no segments here: {', '.join(elsewhere)}")
    if not alone:
        note(
            "another process maintains the directory: it folds the log in, and removes the old segments in two minutes"
        )
    busy = [name for name in names if name in after.segments and after.segments[name].files > 1]
    if busy:
        note(f"another process was at work on the segments of {', '.join(busy)} at the same time; run this once more")


def _body(found: Room, names: list[str]) -> dict[str, object]:
    return {
        **asdict(found),
        "segments": {name: asdict(found.segments[name]) for name in names if name in found.segments},
    }


def _table(before: Room, after: Room, names: list[str]) -> Table:
    rows = table("", "before", "after", numbers=("before", "after"))
    for what, attribute in (
        ("segments", "segment_bytes"),
        ("the file", "file_bytes"),
        ("  of it free", "free_bytes"),
        ("write-ahead log", "wal_bytes"),
    ):
        rows.add_row(f"{what}, MiB", *(f"{getattr(found, attribute) / 2**20:,.2f}" for found in (before, after)))
    for name in names:
        held = [found.segments.get(name) for found in (before, after)]
        for what in ("files", "rows", "tombstones"):
            rows.add_row(f"{name}: {what}", *("-" if one is None else f"{getattr(one, what):,}" for one in held))
    return rows
