"""salience tune: fits a collection's scoring to relevance judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.access.auditing import audited_write
from app.cli.options import DataDir, Device, Json, Model, open_existing
from app.cli.terminal import note, out, print_json, progress_bar
from core.errors import InvalidInput
from store.audit import LOCAL

if TYPE_CHECKING:
    from app.tuning import Tuning
    from app.wiring import Wiring
    from core.records import Scoring


def tune(
    collection: Annotated[str, typer.Argument(help="The collection's name.")],
    queries: Annotated[
        Path | None, typer.Option(help='JSON lines: {"_id": "q1", "text": "how hot for tea"}.', show_default=False)
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="Query id, document id and a whole number, separated by tabs.", show_default=False),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Store what was fitted, where the gain is significant.")
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the scoring of a new collection.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Fit a collection's fusion and BM25 to judgements of your own.

    Tries weights of the dense leg (where the auto fusion starts from) and BM25's k1 and b, chosen by nDCG@10 and
    cross-validated: the gain is that on queries which the fit had not seen. Nothing is embedded anew, and the next
    search goes by what is stored.

    [bold]Examples[/bold]

      salience tune products --queries queries.jsonl --qrels qrels.tsv

      salience tune products --queries queries.jsonl --qrels qrels.tsv --apply

      salience tune products --reset
    """
    if reset and (apply or queries or qrels):
        raise InvalidInput("--reset stands alone: it needs neither queries nor judgements", param="reset")
    with open_existing(data_dir, model, device) as parts:
        if reset:
            from core.records import Scoring

            _store(parts, collection, Scoring())
            typer.echo(f"{collection} scores as a new collection does: {_described(Scoring())}")
            return
        if queries is None or qrels is None:
            raise InvalidInput("tune needs --queries FILE and --qrels FILE, or --reset", param="queries")
        fitted = _fit(parts, collection, queries, qrels)
        stored = apply and fitted.worthwhile and fitted.fitted != fitted.current
        if stored:
            _store(parts, collection, fitted.fitted)
    if as_json:
        print_json({**fitted.to_json(), "stored": stored})
        return
    _print(fitted, collection, stored=stored, apply=apply)


def _fit(parts: Wiring, collection: str, queries: Path, qrels: Path) -> Tuning:
    from app.evaluation import read_judged
    from app.tuning import tune as fit

    texts, judgements = read_judged(queries, qrels)
    with progress_bar() as bar:
        trying = bar.add_task("trying", total=len(texts), detail="")
        return fit(parts, collection, texts, judgements, on_tried=lambda done: bar.update(trying, completed=done))


def _store(parts: Wiring, collection: str, scoring: Scoring) -> None:
    from store.catalog import change_scoring

    with audited_write(parts.database, LOCAL, "collection.change", collection) as session:
        change_scoring(session, collection, scoring)


def _print(fitted: Tuning, collection: str, *, stored: bool, apply: bool) -> None:
    out.print(f"now       {_described(fitted.current)}   ndcg@10 {fitted.ndcg:.4f} on {fitted.queries} queries")
    out.print(f"fitted    {_described(fitted.fitted)}   ndcg@10 {fitted.fitted_ndcg:.4f} on the same")
    sure = "significant" if fitted.worthwhile else "not significant"
    out.print(f"gain      {fitted.gain:+.4f} on queries that the fit had not seen, p = {fitted.p:.4f}: {sure}")
    if stored:
        out.print(f"stored; back again with: salience tune {collection} --reset")
    elif not fitted.worthwhile:
        note("nothing was stored: this may be luck. More judged queries would tell")
    elif not apply:
        note("nothing was stored; --apply stores it")


def _described(scoring: Scoring) -> str:
    return f"alpha {scoring.alpha:g}, k1 {scoring.k1:g}, b {scoring.b:g}"
