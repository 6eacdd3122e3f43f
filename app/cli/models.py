"""salience models: lists, shows, checks and fits models."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, Json, open_parts
from app.cli.terminal import BAD, GOOD, note, out, plain, print_json, progress_bar, table
from app.wiring import Wiring
from core.errors import ModelNotFound

app = typer.Typer(
    help="List, show and check models, and fit them to fewer dimensions.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(help="A model's name or alias, or the folder of one.")]


@app.command("list")
def list_all(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Every model that the settings name, the main one first."""
    from app.modelfacts import row

    with open_parts(data_dir) as parts:
        rows = [row(parts.models, name) for name in parts.models.names]
    if as_json:
        print_json(rows)
        return
    listed = table("model", "kind", "dimension", "tokens", "from", "aliases", numbers=("dimension", "tokens"))
    for facts in rows:
        shown = [facts["kind"], facts["dimension"], facts["max_tokens"], facts["from"]]
        cells = [facts["name"], *("-" if cell is None else str(cell) for cell in shown), ", ".join(facts["aliases"])]
        listed.add_row(*(plain(cell) for cell in cells), style=BAD if facts["problem"] else None)
    out.print(listed)
    for facts in rows:
        if facts["problem"]:
            note(f"{facts['name']} cannot be used: {facts['problem']}")


@app.command()
def show(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Everything about one model. Loads it."""
    from app.modelfacts import facts

    parts, known = _named(name, data_dir)
    with parts:
        found = facts(parts.models, known)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        out.print(plain(f"{key:18} {_said(value)}"))


@app.command()
def check(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Load a model and try it out: are its answers the same in any batch, do controls act, how quick is it.

    The exit code is 1 where something is wrong.
    """
    from app.modelcheck import check as findings_of

    parts, known = _named(name, data_dir)
    findings = []
    with parts:
        for finding in findings_of(parts.models, known):
            findings.append(finding)
            if not as_json:
                mark, style = {True: ("ok", GOOD), False: ("FAILED", BAD), None: ("", "")}[finding.good]
                out.print(f"{mark:7}", style=style, end="")
                out.print(plain(f"{finding.name:22} {finding.text}"))
    good = all(finding.good is not False for finding in findings)
    if as_json:
        listed = [{"name": each.name, "good": each.good, "text": each.text} for each in findings]
        print_json({"model": known, "good": good, "findings": listed})
    if not good:
        raise typer.Exit(1)


@app.command()
def fit(
    name: Name,
    texts: Annotated[list[str], typer.Argument(help="Files and folders with texts like those to be searched.")],
    size: Annotated[int, typer.Option(help="Dimensions of the shorter vectors.", min=1)] = 128,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Fit a model to fewer dimensions on texts of your own, so that requests may ask for vectors of that size.

    At least ten different passages for each dimension are needed. What was fitted before for the size is replaced.

    [bold]Example[/bold]

      salience models fit default --size 128 articles/
    """
    from app.fitting import fit as fit_model
    from indexer.fields import documents
    from indexer.readers import read

    sources = [read(Path(path)) for path in texts]  # a missing path fails before the model is loaded
    parts, known = _named(name, data_dir)
    with parts, progress_bar() as bar:
        task = bar.add_task("embedding", total=None, detail="passages")
        fitted = fit_model(
            parts.models.encoder(known),
            parts.analyzer,
            documents(chain.from_iterable(sources)),
            size,
            parts.models.fitted_projections,
            on_passages=lambda done: bar.update(task, completed=done),
        )
    found = fitted.projection
    if fitted.failed:
        note(f"{len(fitted.failed)} records could not be used, the first: {fitted.failed[0]}")
    if as_json:
        print_json({"file": str(fitted.file), "size": size, "texts": found.texts, "kept": found.kept})
        return
    typer.echo(
        f"{known}: {size} of {found.matrix.shape[1]} dimensions keep {found.kept:.1%} of the squared length of "
        f"{found.texts:,} passages; written to {fitted.file}"
    )


def _named(name: str, data_dir: Path | None) -> tuple[Wiring, str]:
    """Parts that have the model, which may also be a folder, and its name in them. Raises ModelNotFound."""
    parts = open_parts(data_dir)
    try:
        return parts, parts.models.resolve(name)
    except ModelNotFound as error:
        if not Path(name).is_dir():
            raise ModelNotFound(f"{error.message}; nor is it a folder") from None
    parts = open_parts(data_dir, model=name)
    return parts, parts.models.main


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
