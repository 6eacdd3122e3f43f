"""salience eval: retrieval quality on a test collection."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.options import Device, Json, Model, open_parts
from app.cli.terminal import note, out, print_json, progress_bar

if TYPE_CHECKING:
    from app.evaluation import Dataset, Evaluation


def evaluate_command(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with corpus.jsonl or corpus.jsonl.gz, queries.jsonl and qrels.tsv.", metavar="DIR"),
    ],
    as_json: Json = False,
    whole_documents: Annotated[
        bool, typer.Option("--whole-documents", help="One passage a document, cut where the model stops reading.")
    ] = False,
    run_file: Annotated[
        Path | None,
        typer.Option(
            help="Write the hybrid run here in TREC's format, and the others beside it as FILE.sparse and FILE.dense.",
            metavar="FILE",
        ),
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Measure nDCG@10, Recall@100 and MRR@10 of the sparse, the dense and the hybrid search.

    Indexes the corpus into a temporary data directory by the very indexer that add uses.

    [bold]Example[/bold]

      salience eval collections/scifact --json
    """
    from app.evaluation import read_dataset, write_run

    dataset = read_dataset(folder)
    measured = _evaluate(dataset, whole_documents, model, device)
    if measured.report.failed_count:
        first = measured.report.failed[0]
        note(f"{measured.report.failed_count} documents could not be used, the first: {first}")
    if run_file is not None:
        for name, run in measured.runs.items():
            write_run(run_file if name == "hybrid" else run_file.with_name(f"{run_file.name}.{name}"), name, run)
    result = measured.to_json()
    if as_json:
        print_json(result)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(dataset.name)
    for name in next(iter(result["runs"].values())):
        table.add_column(name, justify="right")
    for name, figures in result["runs"].items():
        table.add_row(name, *(f"{figure:.4f}" for figure in figures.values()))
    out.print(table)


def _evaluate(dataset: Dataset, whole_documents: bool, model: str | None, device: str | None) -> Evaluation:
    from app.evaluation import RUNS, evaluate
    from indexer.pipeline import AddProgress

    with (
        tempfile.TemporaryDirectory(prefix="salience-eval-") as data_dir,
        open_parts(Path(data_dir), model, device) as parts,
        progress_bar() as bar,
    ):
        indexing = bar.add_task("indexing", total=None, detail="")
        searching = bar.add_task("searching", total=len(dataset.queries) * len(RUNS), detail="", visible=False)

        def indexed(progress: AddProgress) -> None:
            bar.update(indexing, completed=progress.committed, detail=f"{progress.passages:,} passages")

        def searched(done: int) -> None:
            bar.update(searching, completed=done, visible=True)

        return evaluate(parts, dataset, whole_documents=whole_documents, on_indexed=indexed, on_searched=searched)
