"""salience add: files, folders and standard input into a collection."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DEFAULT_COLLECTION, Collection, DataDir, Device, Json, Model, open_parts
from app.cli.terminal import err, note, plain, print_json, progress_bar
from app.wiring import Wiring
from core.errors import CollectionExists, CollectionNotFound
from core.records import CollectionSettings, Document
from store.catalog import get_collection

if TYPE_CHECKING:
    from indexer.fields import FieldMapping
    from indexer.pipeline import Notice
    from indexer.readers import Format
    from indexer.records import Record, RecordError, Skipped
    from indexer.report import AddReport

    Items = Iterator[Record | RecordError | Skipped]

STDIN = "-"


def add(
    paths: Annotated[list[str], typer.Argument(help="Files and folders; - is standard input.", metavar="PATH")],
    collection: Collection = DEFAULT_COLLECTION,
    id_field: Annotated[str | None, typer.Option(help="Field that holds the id.", show_default="id, _id")] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Field that holds the text.", show_default="text, body, content")
    ] = None,
    title_field: Annotated[
        str | None, typer.Option(help="Field that holds the title.", show_default="title, name")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="ndjson, json, csv, tsv, text, markdown, html or pdf.", show_default="by extension, or first bytes"
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of a new collection: a code such as en, or auto.")] = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Add documents to a collection, which is created if there is none of this name.

    A document replaces the one with its id; unchanged text is not embedded again.

    Records that cannot be used are reported while the rest goes on; the exit code is then 1.

    [bold]Examples[/bold]

      salience add notes/ manual.pdf

      salience add products.csv --id-field sku --text-field description -c products

      zcat articles.jsonl.gz | salience add - --format ndjson
    """
    from indexer.fields import FieldMapping
    from indexer.readers.formats import parse_format

    kind = None if format is None else parse_format(format)
    mapping = FieldMapping(id=id_field, text=text_field, title=title_field)
    sources = [_source(path, kind) for path in paths]  # a missing path fails before the model is loaded
    with open_parts(data_dir, model, device) as parts:
        _ensure_collection(parts, collection, language)
        report = _run(parts, collection, sources, mapping, paths, kind)
    _summary(report, collection, as_json)
    if report.failed_count:
        raise typer.Exit(1)


def _source(path: str, kind: Format | None) -> Items:
    from indexer.readers import read, read_stream

    return read_stream(sys.stdin.buffer, format=kind) if path == STDIN else read(Path(path), format=kind)


def _ensure_collection(parts: Wiring, name: str, language: str) -> None:
    try:
        with parts.database.read() as session:
            get_collection(session, name)
    except CollectionNotFound:
        try:
            parts.create_collection(name, CollectionSettings(language=language))
        except CollectionExists:  # another process was quicker while this one loaded the model
            return
        note(f"created the collection {name!r} in {parts.settings.data_dir}")


def _run(
    parts: Wiring, collection: str, sources: list[Items], mapping: FieldMapping, paths: list[str], kind: Format | None
) -> AddReport:
    from indexer.fields import documents
    from indexer.pipeline import AddProgress

    with progress_bar() as bar:
        task = bar.add_task("indexing", total=None, detail="")

        def show(progress: AddProgress) -> None:
            bar.update(task, completed=progress.committed, detail=f"{progress.passages:,} passages")

        if not bar.disable and STDIN not in paths:
            # Counting means to read everything twice, which is quick beside embedding it.
            def count() -> None:
                bar.update(task, total=_count([_source(path, kind) for path in paths]))

            threading.Thread(target=count, daemon=True).start()
        bare = _TitlesAlone(documents(chain.from_iterable(sources), mapping))
        report = parts.pipeline.add(collection, bare, on_progress=show, on_notice=_report)
    if bare.count and mapping.text is None:
        fields = ", ".join(map(repr, bare.others)) or "none"
        note(
            f"{bare.count:,} records have a title and no text, so only the title is searched; if the text is in "
            f"another field, name it with --text-field (the first such record's other fields: {fields})"
        )
    return report


class _TitlesAlone:
    """Passes items on and counts the documents without text: often it lies in a field of an unusual name."""

    def __init__(self, items: Iterator[Document | RecordError | Skipped]) -> None:
        self.count = 0
        self.others: list[str] = []  # fields of the first one
        self._items = items

    def __iter__(self) -> Iterator[Document | RecordError | Skipped]:
        for item in self._items:
            if isinstance(item, Document) and not item.text.strip():
                self.count += 1
                self.others = self.others if self.count > 1 else list(item.metadata)[:8]
            yield item


def _count(sources: list[Items]) -> int:
    from indexer.records import Record

    return sum(isinstance(item, Record) for item in chain.from_iterable(sources))


def _report(notice: Notice) -> None:
    from indexer.records import Duplicate, RecordError

    match notice:
        case RecordError():
            err.print(plain(str(notice)), style="red")
        case Duplicate():
            note(f"the id {notice.id!r} came before; the last one counts")
        case _:
            count = f" ({notice.count} paths)" if notice.count > 1 else ""
            note(f"left out {notice.path}{count}: {notice.reason}")


def _summary(report: AddReport, collection: str, as_json: bool) -> None:
    if as_json:
        from app.schemas import WriteReport

        print_json(WriteReport.of(report).model_dump())
        return
    numbers = {
        "created": report.created,
        "replaced": report.replaced,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "failed": report.failed_count,
        "cut by the model": report.truncated_count,
    }
    said = ", ".join(f"{count:,} {what}" for what, count in numbers.items() if count) or "nothing to add"
    typer.echo(f"{collection}: {said}")
