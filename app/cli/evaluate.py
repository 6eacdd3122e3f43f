"""salience eval: measures retrieval quality on a test collection."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import (
    Device,
    Json,
    Model,
    Rerank,
    RerankDepth,
    RerankWeight,
    Sparse,
    SparseModel,
    open_parts,
    rerank_option,
    sparse_scoring,
)
from app.cli.terminal import note, out, print_json, progress_bar, table
from app.wiring import Wiring
from core.errors import UnwritableFile

if TYPE_CHECKING:
    from app.evaluation import Dataset, Evaluation
    from core.records import SparseScoring
    from retriever.rerank import Rerank as Reranking


def evaluate_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with corpus.jsonl (or .gz), queries.jsonl and qrels.tsv, or as BEIR has it.", metavar="DIR"
        ),
    ],
    as_json: Json = False,
    whole_documents: Annotated[
        bool, typer.Option("--whole-documents", help="One passage a document, cut where the model stops reading.")
    ] = False,
    dimension: Annotated[
        int | None,
        typer.Option(help="Compress the dense vectors to this many dimensions.", min=1, show_default="the model's own"),
    ] = None,
    sparse_model: SparseModel = None,
    sparse: Sparse = None,
    rerank: Rerank = None,
    rerank_depth: RerankDepth = None,
    rerank_weight: RerankWeight = None,
    run_file: Annotated[
        Path | None,
        typer.Option(
            help="Write the hybrid run here in TREC's format, and the others beside it as FILE.sparse, FILE.dense ...",
            metavar="FILE",
        ),
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Measure nDCG@10, Recall@100 and MRR@10 of the sparse, the dense and the hybrid search.

    Indexes the corpus into a temporary data directory by the very indexer that add uses.

    Says for each pair of runs whether the difference in nDCG@10 is more than luck (paired randomisation, Holm).

    [bold]Example[/bold]

      salience eval collections/scifact --json

      salience eval collections/scifact --sparse-model splade --sparse both
    """
    from app.evaluation import read_dataset, write_run
    from retriever.rerank import Rerank as Reranking

    if run_file is not None and not run_file.parent.is_dir():
        raise UnwritableFile(f"cannot write {run_file}: there is no folder {run_file.parent}", param="run_file")
    dataset = read_dataset(folder)
    scoring = sparse_scoring(sparse, sparse_model)
    asked = rerank_option(rerank, rerank_depth, rerank_weight)
    judge = None if asked is None else Reranking(**asked)
    measured = _evaluate(dataset, whole_documents, dimension, scoring, sparse_model, judge, model, device)
    if measured.report.failed_count:
        first = measured.report.failed[0]
        note(f"{measured.report.failed_count} documents could not be used, the first: {first}")
    if as_json:
        print_json(measured.to_json())
    else:
        _print(dataset.name, measured.to_json())
    if run_file is not None:  # last, so that the results are shown even if the files cannot be written
        for name, run in measured.runs.items():
            write_run(run_file if name == "hybrid" else run_file.with_name(f"{run_file.name}.{name}"), name, run)


def _print(name: str, result: dict[str, Any]) -> None:
    measures = list(next(iter(result["runs"].values())))
    rows = table(name, *measures, numbers=measures)
    for run, figures in result["runs"].items():
        rows.add_row(run, *(f"{figure:.4f}" for figure in figures.values()))
    out.print(rows)
    for found in result["comparisons"]:
        sure = "significant" if found["significant"] else "not significant"
        out.print(
            f"{found['better']} over {found['worse']}: +{found['difference']:.4f} ndcg@10, p = {found['p']:.4f}, {sure}"
        )


def _evaluate(
    dataset: Dataset,
    whole_documents: bool,
    dimension: int | None,
    sparse: SparseScoring,
    sparse_model: str | None,
    rerank: Reranking | None,
    model: str | None,
    device: str | None,
) -> Evaluation:
    from app.evaluation import evaluate, run_count
    from indexer.pipeline import AddProgress

    with (
        tempfile.TemporaryDirectory(prefix="salience-eval-") as data_dir,
        _compressed(open_parts(None, model, device), Path(data_dir), dimension) as parts,
        progress_bar() as bar,
    ):
        indexing = bar.add_task("indexing", total=None, detail="")
        searching = bar.add_task(
            "searching", total=len(dataset.queries) * run_count(sparse, rerank), detail="", visible=False
        )

        def indexed(progress: AddProgress) -> None:
            bar.update(indexing, completed=progress.committed, detail=f"{progress.passages:,} passages")

        def searched(done: int) -> None:
            bar.update(searching, completed=done, visible=True)

        return evaluate(
            parts,
            dataset,
            whole_documents=whole_documents,
            sparse=sparse,
            sparse_model=sparse_model,
            rerank=rerank,
            on_indexed=indexed,
            on_searched=searched,
        )


def _compressed(usual: Wiring, data_dir: Path, dimension: int | None) -> Wiring:
    """Parts for another data directory.

    With `dimension`, the main model is compressed to that size by a projection fitted in the usual data directory.
    """
    settings = usual.settings.model_copy(update={"data_dir": data_dir})
    if dimension is None:
        return Wiring(settings)
    from embedder.projection import compressed

    return Wiring(settings, encoder=compressed(usual.encoder, dimension, fitted=usual.models.fitted_projections))
