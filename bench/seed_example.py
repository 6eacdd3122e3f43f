"""Run the standard example of attention manipulation: `python -m bench.seed_example [--json]`.

The query "I want to play on my TV." is run on two product texts, of a television and of a gaming console. A factor of 7
on "play" should move the console's text ahead. The report shows by how much its score exceeds the television's, without
and with the factor, on each leg and in the hybrid score. The product itself is run, in a temporary data directory.

The query is run on two collections. In one of just the two texts, min-max normalisation gives one of them 1 and the
other 0 on either leg, so a hybrid difference cannot grow. Among other documents (the texts of bench.steering) it can.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.command import print_report
from bench.steering.groups import GROUPS, load_group
from core.protocols import Encoder
from core.records import CollectionSettings, Document
from embedder.densemodels import only
from embedder.lexical.analyzer import Analyzer
from indexer.pipeline import Pipeline
from retriever.query import MAX_K, Query, steer
from retriever.searcher import Searcher
from store import Database, Views
from store.catalog import create_collection

QUERY = "I want to play on my TV."
WORD = "play"
FACTOR = 7.0
TELEVISION = Document(
    id="television",
    text="Your favorite movies and TV programs are automatically upscaled to 4K using our new 4K upscaling technology. "
    "You can quickly discover content and navigate streaming services with our entertainment hub via the internet.",
)
CONSOLE = Document(
    id="console",
    text="Experience unbelievable adventures with our new gaming console. Just plug your console into your TV to enjoy "
    "more than 130 fps and connect to the internet for unlimited gaming fun.",
)
LEGS = ("dense", "sparse", "hybrid")


def main() -> None:
    print_report("seed_example", "Factor 7 on one word.", run, _show)


def run(encoder: Encoder) -> dict[str, Any]:
    """By collection and leg: the console's score minus the television's, before and after, and the gain."""
    others = [
        Document(id=f"{name}-{document_id}", text=text)
        for name in GROUPS
        for document_id, text in load_group(name).documents.items()
    ]
    return {
        "model": encoder.name,
        "query": QUERY,
        "word": WORD,
        "factor": FACTOR,
        "alone": _leads(encoder, [TELEVISION, CONSOLE]),
        "among_others": _leads(encoder, [TELEVISION, CONSOLE, *others]),
    }


def _leads(encoder: Encoder, documents: Sequence[Document]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder))
        try:
            analyzer = Analyzer()
            with database.write() as session:
                create_collection(
                    session,
                    "products",
                    CollectionSettings(language="en"),
                    model=encoder.name,
                    fingerprint=encoder.fingerprint,
                    dimension=encoder.dimension,
                )
            Pipeline(database, only(encoder), analyzer).add("products", documents)
            searcher = Searcher(Views(database), only(encoder), analyzer)
            before = _lead(searcher, {})
            after = _lead(searcher, {WORD: FACTOR})
        finally:
            database.close()
    return {leg: {"before": before[leg], "after": after[leg], "gain": after[leg] - before[leg]} for leg in LEGS}


def _lead(searcher: Searcher, emphasis: Mapping[str, float]) -> dict[str, float]:
    """By leg: the console's score minus the television's."""
    text, controls = steer(QUERY, emphasis=emphasis)
    hits = {
        hit.document_id: hit for hit in searcher.search("products", Query(text=text, controls=controls, k=MAX_K)).hits
    }
    console, television = hits[CONSOLE.id], hits[TELEVISION.id]
    return {
        "dense": console.scores["dense"].raw - television.scores["dense"].raw,
        "sparse": console.scores["sparse"].raw - television.scores["sparse"].raw,
        "hybrid": console.score - television.score,
    }


def _show(report: dict[str, Any]) -> None:
    table = Table(title=f'Lead of the console for "{QUERY}" ({report["model"]})')
    table.add_column("collection")
    table.add_column("leg")
    for column in ("before", f"{WORD}^{FACTOR:g}", "gain"):
        table.add_column(column, justify="right")
    for key, label in (("alone", "the two texts"), ("among_others", "among other texts")):
        for leg, figures in report[key].items():
            table.add_row(label, leg, *(f"{figure:.4f}" for figure in figures.values()))
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
