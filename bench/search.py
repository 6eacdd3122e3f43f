"""Measure a search without the encoder: `python -m bench.search [--json] [--passages N] [--data DIRECTORY]`.

The texts are real (from the test collections, or docstrings of Python's library), one passage each, repeated until
there are enough. The vectors are those of bench.index and do not belong to the texts: so the legs find different
passages, and most have to be scored. Queries are 3 to 12 words cut out of the texts and come with a vector, so no model
takes part; everything else is the product's own search.

Each query counts with the best of three rounds of all queries (the machine may be busy; a query repeated at once would
profit from the processor's cache). p50 and p95 are over the queries, in milliseconds, in total and by stage. `rest` is
the time outside of any stage: opening the snapshot, checking the cursor, building the answer.

With --data the directory is kept and reused.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import add_json, tell
from bench.index.vectors import queries as real_queries
from bench.index.vectors import vectors
from bench.ingest.texts import documents
from core.errors import ModelMismatch
from core.filters import parse_filter
from core.protocols import Encoder
from core.records import Collection, CollectionSettings, Document, Float32Array, IndexKind, Passage
from embedder.lexical import Analyzer
from indexer.drafting import content_sha, passage_sha
from retriever.extras import Extras
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.searcher import Searcher
from retriever.selection import GroupBy, Selection
from retriever.wordconditions import WordConditions
from store import Batch, Database, Draft, DraftPassage, Embedding, Views, catalog
from store.commit import commit
from store.filters.metadata import StoredMetadata
from store.kernel_loading import load_kernel
from store.maintenance import maintain_once

PASSAGES, QUERIES, ROUNDS = 100_000, 200, 3
CHARACTERS = 500  # at most, per text
SEED = 20260101
_BATCH = 2_000
NAME = "made"
_SETTINGS = CollectionSettings(language="en")
CASES: Mapping[str, dict[str, Any]] = {
    "hybrid": {},
    "dense": {"legs": (Leg.DENSE,)},
    "sparse": {"legs": (Leg.SPARSE,)},
    "explained by scores": {"explain": Explain.SCORES},
    "highlights, suggestions": {"extras": Extras(highlight=True, suggest=True)},
    "filter, 10 %": {"filter": parse_filter("tenth = 3")},
    "filter, 90 %": {"filter": parse_filter("tenth < 9")},
    "filter, 3 conditions": {"filter": parse_filter("tenth < 9 and tenth > 0 and exists(rare)")},
    "facet of 1,000 values": {"extras": Extras(facets=("thousandth",))},
    "facet of 20,000 values": {"extras": Extras(facets=("rare",))},
    "groups, 10 values": {"selection": Selection(group_by=GroupBy(field="tenth"))},
    "groups, 1,000 values": {"selection": Selection(group_by=GroupBy(field="thousandth"))},
    "groups, 20,000 values": {"selection": Selection(group_by=GroupBy(field="rare"))},
}
_PHRASES = ("boundary layer", "heat transfer", "present study", "important role", "shock waves")
_SLOW_ROUNDS = 20  # queries to run for a slow case


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description="What a search costs, by stage.")
    add_json(parser)
    parser.add_argument("--passages", type=int, default=PASSAGES, metavar="N", help=f"default {PASSAGES}")
    parser.add_argument("--queries", type=int, default=QUERIES, metavar="N", help=f"default {QUERIES}")
    parser.add_argument("--data", type=Path, default=None, metavar="DIRECTORY", help="keep the passages here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = run(given.data or Path(temporary) / "data", given.passages, given.queries)
    tell(report, as_json=given.json, show=show)


def run(directory: Path, passages: int, queries: int) -> dict[str, Any]:
    """The report; times in milliseconds."""
    load_kernel()  # as a server does
    database = Database.open(directory)
    with database.read() as session:
        known = [collection.name for collection in catalog.list_collections(session)]
    if NAME not in known:
        fill(database, passages)
        maintain_once(database)
    searcher = Searcher(Views(database), no_model, Analyzer())
    asked = queries_of(passages, queries)
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        found[name] = measure(searcher, [replace(query, **case) for query in asked])
    phrases = [WordConditions(phrases=(phrase,)) for phrase in _PHRASES]
    found["frequent phrases"] = measure(searcher, [replace(asked[0], conditions=one) for one in phrases])
    with database.read() as session:
        counts = catalog.counts(session, catalog.get_collection(session, NAME).id)
    database.close()
    return {"passages": counts.passages, "queries": queries, "cases": found}


def measure(searcher: Searcher, queries: Sequence[Query]) -> dict[str, Any]:
    """The `summary` of the queries, run one after the other; of the first _SLOW_ROUNDS only if they are slow."""
    begun = time.perf_counter()
    searcher.search(NAME, queries[0])  # opens the segments
    searcher.search(NAME, queries[-1])
    if time.perf_counter() - begun > 0.2:
        queries = queries[:_SLOW_ROUNDS]
    return summary(lambda query: timed(searcher, query), queries)


def summary(search: Callable[[Query], dict[str, float]], queries: Sequence[Query]) -> dict[str, Any]:
    """p50 and p95 in milliseconds, in total and by stage.

    `search` returns a query's milliseconds by stage, as `timed` does. Each query counts with the best of ROUNDS rounds
    of all queries.
    """
    rounds = [[search(query) for query in queries] for _ in range(ROUNDS)]
    times = [min(found, key=lambda one: one["total"]) for found in zip(*rounds, strict=True)]
    stages = dict.fromkeys(stage for one in times for stage in one)
    by_stage = {stage: _quantiles([one.get(stage, 0.0) for one in times]) for stage in stages}
    return {"total": by_stage.pop("total"), "stages": by_stage}


def show(report: Mapping[str, Any]) -> None:
    """Print one line for each case's `summary`."""
    for name, case in report["cases"].items():
        stages = ", ".join(f"{stage} {found['p50']:g}" for stage, found in case["stages"].items())
        print(f"{name:24} p50 {case['total']['p50']:8.2f}   p95 {case['total']['p95']:8.2f}   {stages}")


def fill(database: Database, passages: int, index: IndexKind = IndexKind.AUTO) -> None:
    """Create a collection whose vectors do not belong to its texts."""
    made, settings = vectors(passages), replace(_SETTINGS, index=index)
    with database.write() as session:
        collection = catalog.create_collection(
            session, NAME, settings, model=NAME, fingerprint=NAME, dimension=made.shape[1]
        )
    analyzer, texts = Analyzer(), documents([], passages)
    for first in range(0, passages, _BATCH):
        drafts = [_draft(number, text) for number, text in enumerate(texts[first : first + _BATCH], start=first)]
        block = np.asarray(made[first : first + len(drafts)])
        with database.write() as session:
            commit(session, _batch(collection, drafts, block, analyzer))


def timed(searcher: Searcher, query: Query) -> dict[str, float]:
    """Run a query; milliseconds by stage, with `total` and `rest`."""
    begun = time.perf_counter()
    result = searcher.search(NAME, query)
    total = (time.perf_counter() - begun) * 1000
    return {"total": total, **result.stages_ms, "rest": total - sum(result.stages_ms.values())}


def queries_of(passages: int, count: int) -> list[Query]:
    """Queries of 3 to 12 words cut out of a text, each with a vector."""
    dice = random.Random(SEED)
    texts = [text.text for text in documents([], min(passages, 20_000)) if len(text.text.split()) > 20]
    made = []
    for vector in real_queries()[:count]:
        words, length = dice.choice(texts).split(), dice.randint(3, 12)
        start = dice.randrange(max(1, len(words) - length))
        made.append(Query(text=" ".join(words[start : start + length]), inputs=Inputs(vector=vector)))
    return made


def _draft(number: int, source: Document) -> Draft:
    text = source.text[:CHARACTERS]
    metadata = {"tenth": number % 10, "thousandth": f"v{number * 7919 % 1000}", "rare": f"r{number * 7919 % 20_000}"}
    document = Document(id=f"d{number}", title=source.title, text=text, metadata=metadata)
    return Draft(
        document=document,
        metadata=StoredMetadata.of(document, _SETTINGS.fields),
        language="en",
        content_sha=content_sha(document, "en", _SETTINGS),
        passages=(
            DraftPassage(
                passage=Passage(start=0, end=len(text), fresh=0),
                sha=passage_sha(source.title, f"{number} {text}", "en", _SETTINGS),  # unique: each has its own vector
            ),
        ),
    )


def _batch(collection: Collection, drafts: Sequence[Draft], vectors: Float32Array, analyzer: Analyzer) -> Batch:
    texts = [f"{draft.document.title} {draft.document.text}" for draft in drafts]
    embeddings = {
        draft.passages[0].sha: Embedding(vector=vector, terms=analyzer.term_frequencies(text, "en"))
        for draft, text, vector in zip(drafts, texts, vectors, strict=True)
    }
    return Batch(collection=collection, fingerprint=NAME, drafts=tuple(drafts), embeddings=embeddings)


def no_model(collection: Collection) -> Encoder:
    """Stands in for the loader of models: raises ModelMismatch."""
    raise ModelMismatch(f"no model is measured here, and {collection.name} has none")


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.quantile(milliseconds, q / 100)), 3) for q in (50, 95)}


if __name__ == "__main__":
    main()
