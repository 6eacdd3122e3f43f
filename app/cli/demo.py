"""salience demo: indexes a sample collection, then searches it with steering and explanations."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from typing import Annotated

import typer
from rich.text import Text

from app.access.auditing import audited, audited_write
from app.cli.docstrings import docstring_documents, standard_library
from app.cli.options import DataDir, Device, Model, open_parts
from app.cli.terminal import GOOD, out, progress_bar
from app.schemas.search_request import SearchRequest
from app.settings import Settings
from app.wiring import Wiring
from core.errors import CollectionNotFound, UnreadableFile
from core.records import CollectionSettings
from store.audit import LOCAL
from store.catalog import delete_collection, get_collection, list_collections
from store.reindex.dropping import drop_deleted

COLLECTION = "python-docs"
QUERY = "open a web page or a database"
STEERED = "open a web page^4 or a database"


def demo(
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Index once more even if the demo was run before.")] = False,
) -> None:
    """Index the docstrings of Python's standard library, then search, steer and explain.

    They go into the collection python-docs of the data directory; nothing else in it is touched.
    """
    with open_parts(data_dir, model, device) as parts:
        _index(parts, fresh)
        parts.maintain_once()
        _say(f'1. A plain search: "{QUERY}"')
        _search(parts, QUERY)
        _say(f'2. The same search, steered: "{STEERED}"')
        _search(parts, STEERED)
        _say("3. Why the first hit has its score: numbers that add up, down to words")
        _explain(parts)
        _next_steps(parts)


def _index(parts: Wiring, fresh: bool) -> None:
    from indexer.pipeline import AddProgress

    out.print(f"Data directory: {parts.settings.data_dir}")
    started = time.perf_counter()
    documents = list(docstring_documents(standard_library()))
    if not documents:
        raise UnreadableFile(f"no Python sources with docstrings in {standard_library()}; try salience add instead")
    if fresh:
        _forget(parts)
    try:
        with parts.database.read() as session:
            get_collection(session, COLLECTION)
    except CollectionNotFound:
        with audited(parts.database, LOCAL, "collection.create", COLLECTION):
            parts.create_collection(COLLECTION, CollectionSettings(language="en"))
    out.print(f"Indexing {len(documents):,} docstrings of Python's standard library with {parts.encoder.name} ...")
    with progress_bar() as bar:
        task = bar.add_task("indexing", total=len(documents), detail="")

        def show(progress: AddProgress) -> None:
            bar.update(task, completed=progress.committed, detail=f"{progress.passages:,} passages")

        report = parts.pipeline.add(COLLECTION, documents, on_progress=show)
    took = time.perf_counter() - started
    rate = f"; {report.tokens / took:,.0f} tokens/s" if report.tokens else ""
    unchanged = f", {report.unchanged:,} were there already" if report.unchanged else ""
    out.print(f"{report.created + report.replaced:,} added{unchanged}: {took:.1f} s{rate}")


def _forget(parts: Wiring) -> None:
    with parts.database.read() as session:
        there = COLLECTION in (found.name for found in list_collections(session))
    if there:
        with audited_write(parts.database, LOCAL, "collection.delete", COLLECTION) as session:
            delete_collection(session, COLLECTION)
        drop_deleted(parts.database)


def _search(parts: Wiring, query: str) -> None:
    from app.cli.rendering import print_result

    body = SearchRequest(query=query, k=3, explain="words" if out.is_terminal else "none")
    print_result(parts.searcher.search(COLLECTION, body.to_search(most=parts.settings.limits.hits)))


def _explain(parts: Wiring) -> None:
    from app.cli.rendering import print_explanation

    body = SearchRequest(query=STEERED, k=1, explain="words")
    print_explanation(parts.searcher.search(COLLECTION, body.to_search(most=1)))


def _say(heading: str) -> None:
    out.print()
    out.rule(Text(heading, style="bold"), align="left") if out.is_terminal else out.print(f"== {heading}")
    out.print()


def _next_steps(parts: Wiring) -> None:
    command = "salience" if shutil.which("salience") else shlex.quote(os.path.relpath(sys.argv[0]))
    given = parts.settings.data_dir != Settings.model_fields["data_dir"].default
    folder = f" --data-dir {shlex.quote(str(parts.settings.data_dir))}" if given else ""
    options = f"-c {COLLECTION}{folder}"
    out.print()
    out.print("Try next:", style="bold")
    for line in (
        f'{command} search "wait for several threads" {options}',
        f'{command} search "wait for several threads^0.1" {options}',
        f'{command} search "parse dates" --filter \'{{"kind": "class"}}\' {options}',
        f"{command} add --help",
        f"{command} serve{folder}",
    ):
        out.print(f"  {line}", style=GOOD)
