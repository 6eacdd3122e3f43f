"""Measure the benefit of query and document representations: `python -m bench.representations DIR [--model M]`.

Evaluates dense search on a test collection with queries embedded as queries and documents as documents, with the two
swapped, and with both symmetric. A model that was trained with two prompts should be worse when they are swapped; one
without prompts gives the same figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.evaluation import DEPTH, Dataset, Run, measure, read_dataset
from bench.command import Report, add_json, tell
from core.prompts import Prompt
from core.protocols import Encoder, Priority
from core.records import Document, Float32Array, Representation
from embedder.kinds import DEFAULT_MODEL
from embedder.loading import load_encoder
from indexer.fields import FieldMapping, documents
from indexer.readers import Format, read

Pair = tuple[Representation, Representation]  # of queries, of documents
PAIRS: dict[str, Pair] = {
    "as meant": (Representation.QUERY, Representation.DOCUMENT),
    "swapped": (Representation.DOCUMENT, Representation.QUERY),
    "both symmetric": (Representation.SYMMETRIC, Representation.SYMMETRIC),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.representations", description=__doc__)
    parser.add_argument("dir", type=Path, help="folder with corpus.jsonl or corpus.jsonl.gz, queries.jsonl, qrels.tsv")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="folder of the model")
    add_json(parser)
    arguments = parser.parse_args()
    tell(run(load_encoder(arguments.model), read_dataset(arguments.dir)), as_json=arguments.json, show=_show)


def _show(report: Report) -> None:
    print(f"{report['model']} on {report['dataset']}")
    for name, figures in report["runs"].items():
        print(f"  {name:16}" + "".join(f"  {measured} {figure:.4f}" for measured, figure in figures.items()))


def run(encoder: Encoder, dataset: Dataset) -> Report:
    """{"model", "dataset", "runs": {pair: {measure: mean over the queries}}}.

    Each document is embedded as a whole; the model truncates it if necessary.
    """
    found = documents(read(dataset.corpus, format=Format.NDJSON), FieldMapping())
    corpus = [document for document in found if isinstance(document, Document)]
    texts = [f"{document.title} {document.text}".strip() for document in corpus]
    ids = [document.id for document in corpus]
    runs = {}
    for name, (of_queries, of_documents) in PAIRS.items():
        rows = _embed(encoder, texts, of_documents)
        queries = _embed(encoder, list(dataset.queries.values()), of_queries)
        runs[name] = measure(_nearest(list(dataset.queries), queries, ids, rows), dataset.judgements)
    return {"model": encoder.name, "dataset": dataset.name, "runs": runs}


def _embed(encoder: Encoder, texts: Sequence[str], representation: Representation) -> Float32Array:
    return encoder.encode([Prompt.of(text) for text in texts], representation, priority=Priority.BULK).vectors


def _nearest(query_ids: Sequence[str], queries: Float32Array, ids: Sequence[str], rows: Float32Array) -> Run:
    """The DEPTH best documents of each query by cosine, best first; ties in order of `ids`."""
    cosines = queries @ rows.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :DEPTH]
    return {
        id: [(ids[place], float(scores[place])) for place in places]
        for id, scores, places in zip(query_ids, cosines, best, strict=True)
    }


if __name__ == "__main__":
    main()
