"""Measure the faithfulness and cost of explanations: `python -m bench.explain DIR [DIR ...] [--json]`.

Each DIR is a test collection in the layout that `salience eval` reads; it is indexed with the default settings. Three
things are measured: the faithfulness of word explanations of the dense leg, by method (bench.explain.faithfulness),
sums and deletions of the fused score (bench.explain.sums), and cost (bench.explain.cost).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from app.evaluation import read_dataset
from app.settings import Settings
from app.wiring import Wiring
from bench.command import Report, add_json, tell
from bench.explain.cost import measure_atman, measure_words
from bench.explain.faithfulness import measure_faithfulness
from bench.explain.sums import measure_sums
from core.records import CollectionSettings, Document
from embedder.local import LocalEncoder
from indexer.fields import FieldMapping, documents
from indexer.readers import Format, read

TIMED = 6  # searches of ten hits
PARTS = ("words", "atman", "sums", "faithfulness")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.explain", description="Faithfulness, sums and cost.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a test collection")
    parser.add_argument("--passages", type=int, default=50, help="of each collection, by every method (default 50)")
    parser.add_argument("--searches", type=int, default=100, help="of each collection, for sums (default 100)")
    parser.add_argument("--documents", type=int, default=None, help="of each collection at most (default: all)")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this alone; may be repeated")
    add_json(parser)
    given = parser.parse_args()
    found = [
        run(folder, given.passages, given.searches, given.documents, given.only or PARTS) for folder in given.folders
    ]
    wrong = [f"{one['dataset']}: {line}" for one in found for line in one.get("sums", {}).pop("wrong", [])]
    tell({"collections": found, "wrong": wrong}, as_json=given.json, show=_show)


def _show(report: Report) -> None:
    for found in report["collections"]:
        print(found.pop("dataset"))
        for part, figures in found.items():
            rows = figures.items() if part == "faithfulness" else [(part, figures)]
            for name, row in rows:
                shown = "  ".join(
                    f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
                print(f"  {name:28} {shown}")


def run(folder: Path, passages: int, searches: int, limit: int | None, wanted: Sequence[str]) -> dict[str, Any]:
    """{"dataset": name} and the report of each module, by those names of PARTS that are in `wanted`."""
    dataset = read_dataset(folder)
    queries = list(dataset.queries.values())
    with tempfile.TemporaryDirectory() as directory, Wiring(Settings(data_dir=Path(directory))) as parts:
        parts.create_collection("bench", CollectionSettings())
        corpus = documents(read(dataset.corpus, format=Format.NDJSON), FieldMapping())
        parts.pipeline.add("bench", islice(corpus, limit))
        encoder = parts.encoder
        assert isinstance(encoder, LocalEncoder)
        found = islice(documents(read(dataset.corpus, format=Format.NDJSON), FieldMapping()), 200)
        longest = max((document.text for document in found if isinstance(document, Document)), key=len)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "words": lambda: measure_words(parts, queries, TIMED),
            "atman": lambda: measure_atman(encoder, longest),
            "sums": lambda: measure_sums(parts, queries, searches),
            "faithfulness": lambda: measure_faithfulness(parts, queries, passages),
        }
        return {"dataset": dataset.name} | {part: measures[part]() for part in PARTS if part in wanted}


if __name__ == "__main__":
    main()
