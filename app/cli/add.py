"""salience add: adds files, folders and standard input to a collection."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.access.auditing import audited
from app.cli.options import DEFAULT_COLLECTION, Collection, DataDir, Device, Json, Model, open_parts
from app.cli.terminal import err, note, plain, print_json, progress_bar
from app.schemas.jobs import write_report
from app.wiring import Wiring
from core.errors import CollectionExists, CollectionNotFound, JobConflict
from core.naming import check_name
from core.records import Collection as Stored
from core.records import CollectionSettings, Document, Job, JobState
from indexer.records import Duplicate, Origin, RecordError
from store.audit import LOCAL
from store.catalog import get_collection
from store.jobs import list_jobs
from store.jobs.notices import newest_notice

if TYPE_CHECKING:
    from rich.progress import Progress

    from app.schemas.documents import WriteReport
    from indexer.fields import FieldMapping
    from indexer.intake import Located
    from indexer.items import Notice
    from indexer.readers import Format
    from indexer.records import Record, Skipped

    Items = Iterator[Record | RecordError | Skipped]

STDIN = "-"
_SHOWN_AT_ONCE = 10_000  # failures reported per committed batch
_SHOWN_DUPLICATES = 10  # if the wrong field is taken as the id, nearly every line may be one


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
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of text files that begin with no byte order mark, such as windows-1252 or shift_jis.",
            show_default="UTF-8, or what HTML declares; CSV, TSV and texts that are neither are guessed, and named",
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
    from indexer.readers.encoding import parse_encoding
    from indexer.readers.formats import parse_format

    kind = None if format is None else parse_format(format)
    codec = None if encoding is None else parse_encoding(encoding)
    guesses: list[dict[str, str]] = []
    mapping = FieldMapping(id=id_field, text=text_field, title=title_field)
    sources = [_source(path, kind, codec, guesses) for path in paths]  # a missing path fails before the model is loaded
    with open_parts(data_dir, model, device) as parts:
        _ensure_collection(parts, collection, language)
        found = parts.pipeline.collection(collection)
        with parts.maintenance.running(), progress_bar() as bar:
            job = _received(parts, found, sources, mapping, bar)
            job = _finished(parts, job, bar)
        parts.maintain_once()
        with parts.database.read() as session:
            report = write_report(session, job)
    _summary(job, report, guesses, as_json)
    if job.failed:
        raise typer.Exit(1)


def _source(path: str, kind: Format | None, encoding: str | None, guesses: list[dict[str, str]]) -> Items:
    from indexer.readers import read, read_stream

    def guessed(name: str, guess: str) -> None:
        guesses.append({"path": name, "encoding": guess})
        note(f"{name} is not UTF-8 and was read as {guess}, a guess; if it is another encoding, add it with --encoding")

    if path == STDIN:
        return read_stream(sys.stdin.buffer, format=kind, encoding=encoding, on_guess=guessed)
    return read(Path(path), format=kind, encoding=encoding, on_guess=guessed)


def _ensure_collection(parts: Wiring, name: str, language: str) -> None:
    try:
        with parts.database.read() as session:
            get_collection(session, name)
    except CollectionNotFound:
        check_name(name)
        try:
            with audited(parts.database, LOCAL, "collection.create", name):
                parts.create_collection(name, CollectionSettings(language=language))
        except CollectionExists:  # another process made it while this one loaded the model
            return
        note(f"created the collection {name!r} in {parts.settings.data_dir}")


def _received(parts: Wiring, collection: Stored, sources: list[Items], mapping: FieldMapping, bar: Progress) -> Job:
    """Read the sources into a job.

    If an earlier run left a job with the same content that has stored nothing yet, that job is returned instead.
    """
    from indexer.fields import located_documents
    from indexer.intake import receive

    task = bar.add_task("reading", total=None, detail="")
    items = _TitlesAlone(located_documents(chain.from_iterable(sources), mapping), lambda: bar.advance(task))
    before = _newest_job(parts)
    receiver = parts.worker.name
    told = _Notices()
    job = receive(parts.database, collection, items, receiver=receiver, resume=True, on_notice=told)
    bar.remove_task(task)
    if told.duplicates > _SHOWN_DUPLICATES:
        note(
            f"{told.duplicates:,} documents in all have an id that came before; the last one of each id counts; if the "
            "ids are in another field, name it with --id-field"
        )
    if items.count and mapping.text is None:
        fields = ", ".join(map(repr, items.others)) or "none"
        records = "1 record has" if items.count == 1 else f"{items.count:,} records have"
        note(
            f"{records} a title and no text, so only the title is searched; if the text is in "
            f"another field, name it with --text-field (the first such record's other fields: {fields})"
        )
    if job.id <= before:
        note(f"job {job.id} of an earlier run is of the same content and goes on: {job.pending:,} documents wait")
    with parts.database.read() as session:
        others = [other for other in list_jobs(session, limit=100, collection=job.collection) if not other.ended]
    for other in others:
        if other.id != job.id and other.worker is None:
            note(
                f"job {other.id} of this collection is not finished, {other.pending:,} documents wait: salience worker "
                f"--once goes on with it, salience jobs cancel {other.id} drops it"
            )
    return job


def _finished(parts: Wiring, job: Job, bar: Progress) -> Job:
    """Wait for the end of the job, and report its failures, even if another process works on it.

    Raises JobConflict if the job fails or is cancelled.
    """
    from store.jobs.notices import NoticeKind, job_notices
    from store.jobs.retry import retry_job

    if job.state is JobState.FAILED:  # in an earlier run
        job = retry_job(parts.database, job.id)
    with parts.database.read() as session:
        seen = newest_notice(session, job.id)
    task = bar.add_task("indexing", total=job.total, detail="")
    said: str | None = None
    most = 0  # passages so far; embedding is ahead of the commits that `now` reflects

    def show(now: Job, passages: int) -> None:
        nonlocal seen, said, most
        most = max(most, now.passages + passages)
        bar.update(task, completed=now.total - now.pending, detail=f"{most:,} passages")
        if now.state is JobState.WAITING and now.reason != said:
            said = now.reason
            note(f"job {now.id} waits, and goes on by itself: {said}")
        if passages:
            return
        with parts.database.read() as session:  # the failures of the batch just committed
            failures = job_notices(session, now.id, NoticeKind.ERROR, limit=_SHOWN_AT_ONCE, after=seen)
        for failure in failures:
            seen = failure.id
            origin = None if failure.path is None else Origin(path=failure.path, line=failure.line)
            reason = failure.reason or ""
            _report(RecordError(code=failure.code or "", reason=reason, origin=origin, id=failure.document_id))

    job = parts.worker.finish(job.id, on_progress=show)
    if job.state is not JobState.DONE:
        why = f": {job.reason}" if job.reason else ""
        done = f"; of its {job.total:,} documents {job.total - job.pending:,} were done, and stay so"
        again = f"; salience jobs retry {job.id} tries it again" if job.state is JobState.FAILED else ""
        raise JobConflict(f"job {job.id} {job.state}{why}{done}{again}")
    return job


def _newest_job(parts: Wiring) -> int:
    with parts.database.read() as session:
        return max((job.id for job in list_jobs(session, limit=1)), default=0)


class _TitlesAlone:
    """Passes items on and counts documents without text: often the text is in a field with an unusual name."""

    def __init__(self, items: Iterator[Located], on_item: Callable[[], None]) -> None:
        self.count = 0
        self.others: list[str] = []  # metadata fields of the first such document, 8 at most
        self._items = items
        self._on_item = on_item

    def __iter__(self) -> Iterator[Located]:
        for origin, item in self._items:
            self._on_item()
            if isinstance(item, Document) and not item.text.strip():
                self.count += 1
                self.others = self.others if self.count > 1 else list(item.metadata)[:8]
            yield origin, item


class _Notices:
    """Reports notices as they come. Repeated ids are counted, and only the first few of them reported."""

    def __init__(self) -> None:
        self.duplicates = 0

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, Duplicate):
            self.duplicates += 1
            if self.duplicates > _SHOWN_DUPLICATES:
                return
        _report(notice)


def _report(notice: Notice) -> None:
    match notice:
        case RecordError():
            err.print(plain(str(notice)), style="red")
        case Duplicate():
            note(f"the id {notice.id!r} came before; the last one counts")
        case _:
            count = f" ({notice.count} paths)" if notice.count > 1 else ""
            note(f"left out {notice.path}{count}: {notice.reason}")


def _summary(job: Job, report: WriteReport, guesses: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({**report.model_dump(), "guessed_encodings": guesses})
        return
    numbers = {
        "created": job.created,
        "replaced": job.replaced,
        "updated": job.updated,
        "unchanged": job.unchanged,
        "failed": job.failed,
        "cut by the model": job.truncated,
    }
    said = ", ".join(f"{count:,} {what}" for what, count in numbers.items() if count) or "nothing to add"
    typer.echo(f"{job.collection}: {said}")
