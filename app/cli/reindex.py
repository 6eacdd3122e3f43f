"""salience reindex: starts, lists, shows, switches, rolls back, cancels and cleans up reindexes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from app.access.auditing import audited
from app.cli.options import DataDir, Device, Fields, Json, SparseModel, first_problem, open_existing, parse_fields
from app.cli.terminal import note, out, plain, print_json, progress_bar, table
from app.schemas.reindexes import Judgements, ReindexBody, ReindexRequest, ReindexSettings
from app.wiring import Wiring
from core.errors import InvalidInput, ReindexConflict
from core.reindexes import Reindex, ReindexState
from store.audit import LOCAL
from store.processes import processes
from store.reindex.record import ENDED

_FILES = "--queries and --qrels"
_REMOVED = {state.value for state in ENDED if state is not ReindexState.FAILED}  # a failed one keeps its new generation
_OVER = {state.value for state in (*ENDED, ReindexState.SWITCHED)}
_WAITED_FOR = {state.value for state in (ReindexState.READY, ReindexState.SWITCHED, ReindexState.DONE)}


class _Group(TyperGroup):
    """Makes `salience reindex COLLECTION` stand for `salience reindex start COLLECTION`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in self.commands:
            args = ["start", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="Make a collection anew, with another model or splitting, while it serves.",
    epilog="salience reindex COLLECTION [OPTIONS] is short for: salience reindex start COLLECTION [OPTIONS]",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="The collection's name.", metavar="COLLECTION")]


@app.command()
def start(
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(
            help="The new model, by its name in the settings (SALIENCE_MODELS__NAME__FOLDER).",
            show_default="the collection's",
        ),
    ] = None,
    passage_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a passage at most.", show_default="as before")
    ] = None,
    overlap_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a passage that the next one repeats.", show_default="as before")
    ] = None,
    whole_documents: Annotated[
        bool | None,
        typer.Option("--whole-documents/--passages", help="One passage a document.", show_default="as before"),
    ] = None,
    language: Annotated[str | None, typer.Option(help="A code such as en, or auto.", show_default="as before")] = None,
    title_weight: Annotated[
        int | None, typer.Option(help="How often BM25 counts a word of a title, 0 to 10.", show_default="as before")
    ] = None,
    fields: Fields = None,
    sparse: Annotated[str | None, typer.Option(help="bm25, learned or both.", show_default="as before")] = None,
    sparse_model: SparseModel = None,
    index: Annotated[str | None, typer.Option(help="auto, exact, hnsw or milvus.", show_default="as before")] = None,
    share: Annotated[float, typer.Option(help="The part of the time that it may work, 0.05 to 1.")] = 0.5,
    auto_switch: Annotated[
        bool, typer.Option("--auto-switch/--no-auto-switch", help="Let the new generation answer as soon as it can.")
    ] = True,
    grace_seconds: Annotated[float, typer.Option(help="How long the old generation is kept for a rollback.")] = 3600.0,
    min_recall: Annotated[float, typer.Option(help="Part of the nearest passages that its index must find.")] = 0.95,
    queries: Annotated[
        Path | None, typer.Option(help="queries.jsonl, to compare both generations by.", show_default=False)
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Their judgements: qrels.tsv.", show_default=False)] = None,
    min_gain: Annotated[
        float | None, typer.Option(help="What nDCG@10 must gain for the switch; 0: no loss.", show_default=False)
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Work on it here, and show how far it is, to the switch.")
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    device: Device = None,
) -> None:
    """Begin to make a collection anew, while it is searched and written to as ever.

    Servers and workers over the data directory do the work; with --wait this command does, too.

    [bold]Examples[/bold]

      salience reindex articles --model e5 --wait

      salience reindex articles --passage-tokens 128 --share 0.2 --no-auto-switch
    """
    settings: dict[str, Any] = {
        "passage_tokens": passage_tokens, "overlap_tokens": overlap_tokens, "whole_documents": whole_documents,
        "language": language, "title_weight": title_weight, "sparse": sparse, "index": index,
        "fields": None if fields is None else {name: kind.value for name, kind in parse_fields(fields).items()},
    }  # fmt: skip
    try:
        asked = ReindexRequest(
            model=model,
            sparse_model=sparse_model,
            settings=ReindexSettings(**{key: value for key, value in settings.items() if value is not None}),
            share=share,
            auto_switch=auto_switch,
            grace_seconds=grace_seconds,
            min_recall=min_recall,
            judgements=_judgements(queries, qrels),
            min_gain=min_gain,
        )
    except ValidationError as error:
        raise first_problem(error) from None
    from app import reindexes

    with open_existing(data_dir, device=device) as parts:
        with audited(parts.database, LOCAL, "reindex.start", name):
            reindexes.begin(parts, name, asked)
        if wait:
            _work(parts, name)
        body = _body(parts, name)
        idle = not wait and not processes(parts.settings.data_dir)
    _print(body, as_json)
    if idle:
        note("no server or worker runs over this data directory: salience worker does the work")
    if body.state == "failed" or (wait and body.state not in _WAITED_FOR):
        raise ReindexConflict(body.reason or f"the reindex of {name!r} came to nothing: it was {body.state}")


@app.command("list")
def list_all(as_json: Json = False, data_dir: DataDir = None) -> None:
    """How far the newest reindex of each collection is."""
    from app import reindexes

    with open_existing(data_dir) as parts, parts.database.read() as session:
        bodies = [ReindexBody.of(found, waiting=waiting) for found, waiting in reindexes.look_at_all(session)]
    if as_json:
        print_json([body.model_dump(mode="json") for body in bodies])
        return
    if not bodies:
        note("no collection was reindexed; begin with: salience reindex COLLECTION")
        return
    rows = table("collection", "state", "documents", "brought over", "reason", numbers=("documents", "brought over"))
    for body in bodies:
        rows.add_row(body.collection, body.state, f"{body.documents:,}", f"{body.done:,}", plain(body.reason or "-"))
    out.print(rows)


@app.command()
def status(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """How far the newest reindex of a collection is."""
    with open_existing(data_dir) as parts:
        body = _body(parts, name)
    _print(body, as_json)


@app.command()
def switch(name: Name, as_json: Json = False, data_dir: DataDir = None, device: Device = None) -> None:
    """Let the new generation answer, if it is ready."""
    from app import reindexes

    _do(reindexes.switch, "reindex.switch", name, as_json, data_dir, device)


@app.command()
def rollback(name: Name, as_json: Json = False, data_dir: DataDir = None, device: Device = None) -> None:
    """Let the old generation answer again, with all that was written since the switch."""
    from app import reindexes

    _do(reindexes.rollback, "reindex.rollback", name, as_json, data_dir, device)


@app.command()
def cancel(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Cancel a reindex that is not switched; the collection stays as it is."""
    from app import reindexes

    _do(reindexes.cancel, "reindex.cancel", name, as_json, data_dir)


@app.command()
def cleanup(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Remove the old generation before its time; then there is no rollback any more."""
    from app import reindexes

    _do(reindexes.clean_up, "reindex.cleanup", name, as_json, data_dir)


def _do(
    act: Callable[[Wiring, str], Reindex],
    action: str,
    name: str,
    as_json: bool,
    data_dir: Path | None,
    device: str | None = None,
) -> None:
    with open_existing(data_dir, device=device) as parts:
        with audited(parts.database, LOCAL, action, name):
            act(parts, name)
        while parts.reindexing.turn():  # clean up at once, unless another process does
            pass
        body = _body(parts, name)
    _print(body, as_json)


def _work(parts: Wiring, name: str) -> None:
    """Work on the reindex until it is switched, is ready but must be switched by hand, or is over."""
    with parts.register("reindex"), parts.maintenance.running(), progress_bar() as bar, parts.reindexing.running():
        task, said = bar.add_task("reindexing", total=None, detail="documents"), None
        while True:
            body = _body(parts, name)
            bar.update(task, completed=body.done, total=body.documents, description=body.state)
            if body.reason and body.reason != said:
                said = body.reason
                note(f"it waits: {said}")
            if body.state in _OVER or (body.state == "ready" and not body.auto_switch):
                return
            time.sleep(0.1)


def _judgements(queries: Path | None, qrels: Path | None) -> Judgements | None:
    if (queries is None) != (qrels is None):
        raise InvalidInput(f"{_FILES} go together", param="qrels")
    if queries is None or qrels is None:
        return None
    from app.evaluation import read_judged

    texts, judged = read_judged(queries, qrels)
    return Judgements(queries=texts, qrels=judged)


def _body(parts: Wiring, name: str) -> ReindexBody:
    from app import reindexes

    with parts.database.read() as session:
        found, waiting = reindexes.look(session, name)
    return ReindexBody.of(found, waiting=waiting)


def _print(body: ReindexBody, as_json: bool) -> None:
    if as_json:
        print_json(body.model_dump(mode="json"))
        return
    left = "" if body.seconds_left is None else f", about {body.seconds_left:,.0f} s left"
    waiting = f", {body.waiting:,} written meanwhile wait" if body.waiting else ""
    out.print(plain(f"{body.collection}: {body.state}, {body.done:,} of {body.documents:,} documents{waiting}{left}"))
    if body.reason:
        out.print(plain(f"reason: {body.reason}"))
    if body.state == "switched" and body.other_generation is not None:
        until = f"kept as {body.other_generation} for {body.grace_seconds:,.0f} s after the switch"
        back = f"to let it answer again: salience reindex rollback {body.collection}"
        out.print(plain(f"the generation before is {until}; {back}"))
    elif body.other_generation is not None and body.state not in _REMOVED:
        out.print(plain(f"to try the other generation: salience search QUERY -c '{body.other_generation}'"))
    if body.state == "ready":
        out.print(plain(f"to let it answer: salience reindex switch {body.collection}"))
    for key, value in (body.report or {}).items():
        out.print(plain(f"{key:10} {value}"))
