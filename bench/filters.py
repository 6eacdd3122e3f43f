"""Measure the cost of filters: `python -m bench.filters [--json] [--documents N] [--filters N] [--data DIRECTORY]`.

Documents are synthetic, with a dozen fields each, random vectors, and words by Zipf's law. Queries come with a random
vector, so no model takes part: the cost of a filter is compared with the rest of a search, without the encoder. All
queries are run without a filter, then with random filters of one to four comparisons, three times; the best of each
counts. `ratio` is the p95 of filtered searches over that of unfiltered ones; `filter` is the stage that finds the
documents.

With --data the directory is kept and reused.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import Report, add_json, tell
from bench.search import no_model
from core.filters import filter_text, parse_filter
from core.records import Collection, CollectionSettings, Document, FieldKind, Float32Array, Float64Array, Passage
from embedder.lexical import Analyzer
from indexer.drafting import content_sha, passage_sha
from retriever.inputs import Inputs
from retriever.query import Query
from retriever.searcher import Searcher
from store import Batch, Database, Draft, DraftPassage, Embedding, Views, catalog
from store.commit import commit
from store.filters.metadata import StoredMetadata

DOCUMENTS, FILTERS = 50_000, 200
ROUNDS = 3
WORDS, WORDS_OF_A_DOCUMENT = 20_000, 30
SEED = 20260101
DIMENSION = 384
_BATCH = 2_000
_NAME = "made"
_SETTINGS = CollectionSettings(language="en", fields={"released": FieldKind.DATE, "shop": FieldKind.GEO})
_DAYS = [f"{year}-{month:02}-{day:02}" for year in range(2015, 2025) for month in range(1, 13) for day in range(1, 29)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.filters", description="What a filter costs.")
    add_json(parser)
    parser.add_argument("--documents", type=int, default=DOCUMENTS, metavar="N", help=f"default {DOCUMENTS}")
    parser.add_argument("--filters", type=int, default=FILTERS, metavar="N", help=f"default {FILTERS}")
    parser.add_argument("--data", type=Path, default=None, metavar="DIRECTORY", help="keep the documents here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = run(given.data or Path(temporary) / "data", given.documents, given.filters)
    tell(report, as_json=given.json)


def run(directory: Path, documents: int, filters: int) -> Report:
    """The report; times in milliseconds."""
    database = Database.open(directory)
    with database.read() as session:
        known = [collection.name for collection in catalog.list_collections(session)]
    if _NAME not in known:
        fill(database, documents)
    dice, views = random.Random(SEED), Views(database)
    searcher = Searcher(views, no_model, Analyzer())
    texts = [random_filter(dice) for _ in range(filters)]
    trees = [parse_filter(text) for text in texts]
    words = [" ".join(_words(dice, 6)) for _ in trees]
    vectors = _unit_vectors(np.random.default_rng(SEED + 2), filters)
    queries = [Query(text=text, inputs=Inputs(vector=vector)) for text, vector in zip(words, vectors, strict=True)]
    filtered_queries = [replace(query, filter=tree) for query, tree in zip(queries, trees, strict=True)]
    for query in queries[:20]:
        searcher.search(_NAME, query)
    best = np.full((3, filters), np.inf)
    for _ in range(ROUNDS):
        plain = [_timed(searcher, query)[0] for query in queries]
        restricted = [_timed(searcher, query) for query in filtered_queries]
        best = np.minimum(best, [plain, *zip(*restricted, strict=True)])
    with views.open(_NAME) as view:
        allowed = [len(view.filter(tree)) / view.passage_count for tree in trees]
    database.close()
    unfiltered, filtered, resolving = (_quantiles(row) for row in best)
    slowest = int(np.argmax(best[1]))
    return {
        "documents": documents,
        "filters": filters,
        "selectivity": [round(float(np.quantile(allowed, q)), 3) for q in (0.1, 0.5, 0.9)],
        "unfiltered": unfiltered,
        "filtered": filtered,
        "filter": resolving,
        "ratio": round(filtered["p95"] / unfiltered["p95"], 2),
        "slowest": f"{best[1, slowest]:.1f} ms: {filter_text(trees[slowest])}",
    }


def _timed(searcher: Searcher, query: Query) -> tuple[float, float]:
    """Milliseconds of the search and of its filter stage."""
    start = time.perf_counter()
    result = searcher.search(_NAME, query)
    return (time.perf_counter() - start) * 1000, result.stages_ms["filter"]


def fill(database: Database, documents: int) -> None:
    """Create a collection of synthetic documents."""
    with database.write() as session:
        collection = catalog.create_collection(
            session, _NAME, _SETTINGS, model=_NAME, fingerprint=_NAME, dimension=DIMENSION
        )
    dice, noise, analyzer = random.Random(SEED + 1), np.random.default_rng(SEED), Analyzer()
    for first in range(0, documents, _BATCH):
        batch = range(first, min(first + _BATCH, documents))
        vectors = _unit_vectors(noise, len(batch))
        drafts = [_draft(i, dice) for i in batch]
        with database.write() as session:
            commit(session, _batch(collection, drafts, vectors, analyzer))


def _unit_vectors(noise: np.random.Generator, count: int) -> Float32Array:
    vectors = noise.standard_normal((count, DIMENSION))
    unit: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def random_filter(dice: random.Random) -> str:
    """A filter of one to four comparisons."""
    parts = [_comparison(dice) for _ in range(dice.choice([1, 1, 1, 2, 2, 3, 4]))]
    text = parts[0]
    for part in parts[1:]:
        text = f"({text}) {dice.choice(['and', 'and', 'or'])} {part}"
    return text


def _comparison(dice: random.Random) -> str:
    low, day = round(dice.expovariate(0.02), 2), dice.choice(_DAYS)
    return dice.choice(
        [
            f"price < {low}",
            f"{low} <= price < {low + 30}",
            f'brand = "{_brand(dice)}"',
            f'brand in ("{_brand(dice)}", "{_brand(dice)}", "{_brand(dice)}")',
            f'category = "c{dice.randint(0, 9)}"',
            f'not category = "c{dice.randint(0, 9)}"',
            f'prefix(brand, "b{dice.randint(1, 9)}")',
            f"stock = {dice.choice(['true', 'false'])}",
            f'tags all ("t{dice.randint(0, 9)}", "t{dice.randint(0, 9)}")',
            f'tags = "t{dice.randint(0, 19)}"',
            f"released >= {day}",
            f"{day} <= released < 2025",
            f"released = {day[:4]}-{day[5:7]}",
            f"within(shop, {dice.uniform(47, 55):.3f}, {dice.uniform(6, 15):.3f}, {dice.choice([5, 50, 300])} km)",
            f"exists({dice.choice(['brand', 'maker.country', 'marks'])})",
            f"every(marks >= {dice.randint(1, 5)})",
            f'maker.country != "m{dice.randint(0, 30)}"',
        ]
    )


def _brand(dice: random.Random) -> str:
    return f"b{int(1000 ** dice.random())}"


def _metadata(dice: random.Random) -> dict[str, Any]:
    return {
        "price": round(dice.expovariate(0.02), 2),
        "brand": _brand(dice),
        "category": f"c{dice.randint(0, 9)}",
        "stock": dice.random() < 0.8,
        "tags": [f"t{dice.randint(0, 19)}" for _ in range(dice.randint(0, 4))],
        "released": f"{dice.choice(_DAYS)}T{dice.randint(0, 23):02}:00:00+02:00",
        "shop": {"lat": dice.uniform(47, 55), "lon": dice.uniform(6, 15)},
        "marks": [dice.randint(1, 5) for _ in range(dice.randint(0, 3))],
        "maker": {"country": f"m{dice.randint(0, 30)}"} if dice.random() < 0.7 else None,
    }


def _words(dice: random.Random, count: int) -> list[str]:
    """Random words, distributed by Zipf's law."""
    return [f"word{int(WORDS ** dice.random())}" for _ in range(count)]


def _draft(number: int, dice: random.Random) -> Draft:
    text = " ".join(_words(dice, WORDS_OF_A_DOCUMENT))
    document = Document(id=f"d{number}", text=text, metadata=_metadata(dice))
    span = Passage(start=0, end=len(text), fresh=0)
    return Draft(
        document=document,
        metadata=StoredMetadata.of(document, _SETTINGS.fields),
        language="en",
        content_sha=content_sha(document, "en", _SETTINGS),
        passages=(DraftPassage(passage=span, sha=passage_sha("", text, "en", _SETTINGS)),),
    )


def _batch(collection: Collection, drafts: Sequence[Draft], vectors: Float32Array, analyzer: Analyzer) -> Batch:
    embeddings = {
        draft.passages[0].sha: Embedding(vector=vector, terms=analyzer.term_frequencies(draft.document.text, "en"))
        for draft, vector in zip(drafts, vectors, strict=True)
    }
    return Batch(
        collection=collection,
        fingerprint=collection.active.fingerprint,
        drafts=tuple(drafts),
        embeddings=embeddings,
    )


def _quantiles(milliseconds: Float64Array) -> dict[str, float]:
    return {f"p{q}": round(float(np.quantile(milliseconds, q / 100)), 2) for q in (50, 95)}


if __name__ == "__main__":
    main()
