"""What a filter costs: `python -m bench.filters [--json] [--documents N] [--filters N] [--data DIRECTORY]`.

Made documents with a dozen fields each, random vectors, and words by Zipf's law; searched by the default model and BM25
without a filter, and with random ones of one to four comparisons; the best of three tries each. `ratio` is the p95 of
filtered searches over that of unfiltered ones; `filter` is the part that found the documents.

With --data the directory is kept, and used again.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.filters import Filter, filter_text, parse_filter
from core.protocols import Encoder
from core.records import Collection, CollectionSettings, Document, FieldKind, Float64Array, Passage
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.loading import load_encoder
from indexer.drafting import content_sha, passage_sha
from retriever.query import Query
from retriever.searcher import Searcher
from store import Batch, Database, Draft, DraftPassage, Embedding, Views, catalog, commit

DOCUMENTS, FILTERS = 50_000, 200
ROUNDS = 3
WORDS, WORDS_OF_A_DOCUMENT = 20_000, 30
SEED = 20260101
_BATCH = 2_000
_NAME = "made"
_SETTINGS = CollectionSettings(language="en", fields={"released": FieldKind.DATE, "shop": FieldKind.GEO})
_DAYS = [f"{year}-{month:02}-{day:02}" for year in range(2015, 2025) for month in range(1, 13) for day in range(1, 29)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.filters", description="What a filter costs.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, metavar="N", help=f"default {DOCUMENTS}")
    parser.add_argument("--filters", type=int, default=FILTERS, metavar="N", help=f"default {FILTERS}")
    parser.add_argument("--data", type=Path, default=None, metavar="DIRECTORY", help="keep the documents here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = run(given.data or Path(temporary) / "data", given.documents, given.filters)
    if given.json:
        print(json.dumps(report, indent=2))
        return
    for name, figures in report.items():
        print(f"{name:12}", figures if not isinstance(figures, dict) else f"p50 {figures['p50']:7.2f} ms   ", end="")
        print(f"p95 {figures['p95']:7.2f} ms" if isinstance(figures, dict) else "")


def run(directory: Path, documents: int, filters: int) -> dict[str, Any]:
    """Milliseconds."""
    encoder, database = load_encoder(), Database.open(directory)
    with database.read() as session:
        known = [collection.name for collection in catalog.list_collections(session)]
    if _NAME not in known:
        fill(database, encoder, documents)
    dice, views = random.Random(SEED), Views(database)
    searcher = Searcher(views, only(encoder), Analyzer())
    queries = [" ".join(_words(dice, 6)) for _ in range(filters)]
    texts = [random_filter(dice) for _ in range(filters)]
    for query in queries[:20]:
        searcher.search(_NAME, Query(text=query))
    plain, filtered, resolving, allowed = (list[float]() for _ in range(4))
    for query, text in zip(queries, texts, strict=True):
        tree = parse_filter(text)
        # By turns, and the best of each: what else the machine does falls on neither.
        rounds = [(_timed(searcher, query, None)[0], *_timed(searcher, query, tree)) for _ in range(ROUNDS)]
        for figures, best in zip((plain, filtered, resolving), map(min, zip(*rounds, strict=True)), strict=True):
            figures.append(best)
        with views.open(_NAME) as view:
            allowed.append(len(view.filter(tree)) / view.passage_count)
    slowest = int(np.argmax(filtered))
    database.close()
    return {
        "documents": documents,
        "filters": filters,
        "selectivity": [round(float(np.quantile(allowed, q)), 3) for q in (0.1, 0.5, 0.9)],
        "unfiltered": _quantiles(plain),
        "filtered": _quantiles(filtered),
        "filter": _quantiles(resolving),
        "ratio": round(_quantiles(filtered)["p95"] / _quantiles(plain)["p95"], 2),
        "slowest": f"{filtered[slowest]:.1f} ms: {filter_text(parse_filter(texts[slowest]))}",
    }


def _timed(searcher: Searcher, query: str, tree: Filter | None) -> tuple[float, float]:
    """Milliseconds of the search, and of its filter."""
    start = time.perf_counter()
    result = searcher.search(_NAME, Query(text=query, filter=tree))
    return (time.perf_counter() - start) * 1000, result.stages_ms["filter"]


def fill(database: Database, encoder: Encoder, documents: int) -> None:
    """A collection of made documents."""
    with database.write() as session:
        collection = catalog.create_collection(
            session,
            _NAME,
            _SETTINGS,
            model=encoder.name,
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
        )
    dice, noise, analyzer = random.Random(SEED + 1), np.random.default_rng(SEED), Analyzer()
    for first in range(0, documents, _BATCH):
        batch = range(first, min(first + _BATCH, documents))
        vectors = noise.standard_normal((len(batch), encoder.dimension))
        drafts = [_draft(i, dice) for i in batch]
        with database.write() as session:
            commit(session, _batch(collection, drafts, vectors, analyzer))


def random_filter(dice: random.Random) -> str:
    """One to four comparisons."""
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
    """By Zipf's law."""
    return [f"word{int(WORDS ** dice.random())}" for _ in range(count)]


def _draft(number: int, dice: random.Random) -> Draft:
    text = " ".join(_words(dice, WORDS_OF_A_DOCUMENT))
    document = Document(id=f"d{number}", text=text, metadata=_metadata(dice))
    span = Passage(start=0, end=len(text), fresh=0)
    return Draft(
        document=document,
        language="en",
        content_sha=content_sha(document, "en", _SETTINGS),
        passages=(DraftPassage(passage=span, sha=passage_sha("", text, "en", _SETTINGS)),),
    )


def _batch(collection: Collection, drafts: Sequence[Draft], vectors: Float64Array, analyzer: Analyzer) -> Batch:
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    embeddings = {
        draft.passages[0].sha: Embedding(vector=vector, terms=analyzer.term_frequencies(draft.document.text, "en"))
        for draft, vector in zip(drafts, unit, strict=True)
    }
    return Batch(
        collection=collection,
        fingerprint=collection.active.fingerprint,
        drafts=tuple(drafts),
        embeddings=embeddings,
    )


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.quantile(milliseconds, q / 100)), 2) for q in (50, 95)}


if __name__ == "__main__":
    main()
