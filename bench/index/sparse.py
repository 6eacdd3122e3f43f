"""Compare the sparse leg with bm25s: `python -m bench.index.sparse [--json] [--passages N ...]`. Needs bm25s and numba.

The passages are generated from real ones: each has the length of one real passage, and its terms are drawn with
repetition from that one and a second, both chosen at random. So lengths and term frequencies are those of the real
collections (SciFact, Cranfield and Vaswani, analysed as English; 72 terms per passage). The terms of the real queries,
in random order, are cut into queries of distinct terms.

Ours searches a snapshot of four segments and a tail, with 1 % of the passages removed, and computes document
frequencies; bm25s has one index of the remaining passages. Queries run in one thread, one at a time; the contestants
take turns, a round of all queries each, so that no query profits from a processor cache that the same query has just
filled. Each query counts with its fastest round (the machine may be busy), and the median of those is reported. Memory
of the kernel is the increase of the process's own memory by loading it (`resident` in bench.memory).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import bm25s
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.command import Report, add_json, tell
from bench.corpus import DATA, records
from bench.memory import resident
from core.records import (
    Collection,
    CollectionSettings,
    Float32Array,
    Float64Array,
    Generation,
    GenerationState,
    Int32Array,
)
from embedder.lexical import Analyzer
from store import Pool, bm25, sparse
from store.kernel_loading import load_kernel
from store.segments.postings import Postings
from store.segments.segment import Segment
from store.snapshot import Part, Snapshot

COLLECTIONS = ("scifact", "cranfield", "vaswani-npl")
PASSAGES = (100_000, 300_000)
SHARES = (0.70, 0.20, 0.06, 0.03, 0.01)  # of the passages, per segment; the last one is the tail
REMOVED = 0.01
TERMS, DEPTHS = (3, 6, 12), (10, 1000)
QUERIES, ROUNDS = 60, 10
CANDIDATES = 2000
SEED = 20260101
Query = list[tuple[int, float]]  # term, idf


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Postings as parallel arrays (row, term, frequency), sorted by row, then term. Terms are numbered from 0."""

    rows: Int32Array
    terms: Int32Array
    frequencies: Float32Array
    passages: int
    vocabulary: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index.sparse", description="The sparse leg against bm25s.")
    add_json(parser)
    parser.add_argument("--passages", type=int, nargs="+", default=PASSAGES, metavar="N")
    asked = parser.parse_args()
    tell(measure(asked.passages), as_json=asked.json, show=show)


def measure(sizes: Sequence[int] = PASSAGES) -> Report:
    """Milliseconds (median over the queries) of both, and their ratios, by size.

    `worst_ratio`: the largest of ours / bm25s at depth 10. `same_top_10`: the smallest share of queries whose ten best
    hits have the same scores within float32, rank by rank; `wrong` lists the cases where it is less than 1, at any
    depth.
    """
    documents, queries = real_texts()
    before = resident().own
    begin = time.perf_counter()
    if not load_kernel():
        raise SystemExit("numba is needed: pip install numba")
    loading = {"seconds": round(time.perf_counter() - begin, 2), "own_mib": round((resident().own - before) / 2**20)}
    by_size = {str(size): _measure(enlarge(documents, size), queries) for size in sizes}
    wrong = [
        f"{size} passages, {row['terms']} terms, {row['depth']} deep: only {row['same']:.1%} have the same scores"
        for size, found in by_size.items()
        for row in found["searches"]
        if row["same"] < 1
    ]
    return {
        "bm25s": bm25s.__version__,
        "kernel_loading": loading,
        "sizes": by_size,
        "worst_ratio": max(row["ratio"] for size in by_size.values() for row in size["searches"] if row["depth"] == 10),
        "same_top_10": min(row["same"] for size in by_size.values() for row in size["searches"] if row["depth"] == 10),
        "wrong": wrong,
    }


def show(report: Report) -> None:
    table = Table(title=f"Sparse leg against bm25s {report['bm25s']} (numba), p50 ms")
    for column in ("passages", "terms", "depth", "Salience", "bm25s", "ratio", "same"):
        table.add_column(column, justify="right")
    for size, figures in report["sizes"].items():
        for row in figures["searches"]:
            cells = (row["terms"], row["depth"], row["ours_ms"], row["bm25s_ms"], row["ratio"], row["same"])
            table.add_row(size, *map(str, cells))
    console = Console()
    console.print(table)
    for size, figures in report["sizes"].items():
        others = ", ".join(f"{name} {figures[name]}" for name in figures if name != "searches")
        console.print(f"{size}: {others}")
    console.print(f"Loading the kernel: {report['kernel_loading']}")


def real_texts() -> tuple[list[Int32Array], list[list[int]]]:
    """The term numbers of each document, and the distinct ones of each query."""
    analyzer = Analyzer("en")
    numbers: dict[str, int] = {}
    documents: list[Int32Array] = []
    queries: list[list[str]] = []
    for name in COLLECTIONS:
        for record in records(DATA / name / "corpus.jsonl.gz"):
            terms = analyzer.analyze(f"{record.get('title') or ''}\n{record['text']}", "en")
            if terms:
                documents.append(np.array([numbers.setdefault(t.text, len(numbers)) for t in terms], dtype=np.int32))
        for record in records(DATA / name / "queries.jsonl"):
            queries.append([term.text for term in analyzer.analyze(record["text"], "en")])
    return documents, [[numbers[term] for term in dict.fromkeys(query) if term in numbers] for query in queries]


def enlarge(documents: Sequence[Int32Array], passages: int) -> Corpus:
    """Generate `passages` passages, each with terms drawn at random from two real documents."""
    chance = np.random.default_rng(SEED)
    flat = np.concatenate(documents)
    ends = np.cumsum([len(document) for document in documents])
    lengths = np.diff(ends, prepend=0)
    first, second = chance.integers(0, len(documents), (2, passages))
    rows = np.repeat(np.arange(passages), lengths[first])
    drawn = (chance.random(len(rows)) * (lengths[first] + lengths[second])[rows]).astype(np.int64)
    before = lengths[first][rows]
    starts = ends - lengths
    places = np.where(drawn < before, starts[first][rows] + drawn, starts[second][rows] + drawn - before)
    vocabulary = int(flat.max()) + 1
    keys, counts = np.unique(rows * vocabulary + flat[places], return_counts=True)
    return Corpus(
        rows=(keys // vocabulary).astype(np.int32),
        terms=(keys % vocabulary).astype(np.int32),
        frequencies=counts.astype(np.float32),
        passages=passages,
        vocabulary=vocabulary,
    )


def _measure(corpus: Corpus, queries: Sequence[Sequence[int]]) -> Report:
    removed = np.zeros(corpus.passages, dtype=np.bool_)
    removed[np.random.default_rng(SEED).choice(corpus.passages, int(corpus.passages * REMOVED), replace=False)] = True
    snapshot = _snapshot(corpus, ~removed)
    ids = np.flatnonzero(~removed)
    begin = time.perf_counter()
    rival = _rival(corpus, ids)
    built = time.perf_counter() - begin

    def ours(terms: Sequence[int], k: int) -> Pool:
        wanted = [
            (term, bm25.idf(snapshot.passage_count, df)) for term, df in zip(terms, snapshot.dfs(terms), strict=True)
        ]
        return sparse.matching(snapshot, sparse.bm25_weights, wanted, k, None)

    def theirs(terms: Sequence[int], k: int) -> Any:
        return rival.retrieve([list(terms)], k=k, show_progress=False, n_threads=1)

    searches = []
    for length in TERMS:
        asked = list(_queries(queries, length))
        for depth in DEPTHS:
            mine, other = _fastest([partial(ours, k=depth), partial(theirs, k=depth)], asked)
            same = [_same(ours(q, depth).scores, theirs(q, depth).scores[0]) for q in asked]
            searches.append(
                {
                    "terms": length,
                    "depth": depth,
                    "ours_ms": round(mine, 3),
                    "bm25s_ms": round(other, 3),
                    "ratio": round(mine / other, 2),
                    "same": round(sum(same) / len(same), 3),
                }
            )
    candidates = np.sort(np.random.default_rng(SEED).choice(ids, min(CANDIDATES, len(ids)), replace=False))
    wanted = [(term, 1.0) for term in next(_queries(queries, TERMS[-1]))]
    (products,) = _fastest([lambda q: sparse.products(snapshot, sparse.bm25_weights, wanted, candidates)], [[]])
    return {
        "searches": searches,
        f"products_of_{len(candidates)}_ms": round(products, 3),
        "postings_bytes_a_passage": round(_bytes(snapshot) / corpus.passages, 1),
        "bm25s_build_s": round(built, 1),
    }


def _same(ours: Float64Array, theirs: Float32Array) -> bool:
    """Whether the scores agree. If too few passages match, bm25s pads its result with others, of score 0."""
    return np.allclose(ours, theirs[: len(ours)], rtol=1e-4) and not theirs[len(ours) :].any()


def _snapshot(corpus: Corpus, live: np.ndarray[Any, np.dtype[np.bool_]]) -> Snapshot:
    cuts = np.rint(np.cumsum([0.0, *SHARES]) * corpus.passages).astype(int)
    lengths = np.bincount(corpus.rows, weights=corpus.frequencies, minlength=corpus.passages)
    average = float(lengths[live].mean())
    settings = CollectionSettings()
    parts = []
    for begin, end in pairwise(cuts.tolist()):
        span = slice(*np.searchsorted(corpus.rows, [begin, end]))
        rows = (corpus.rows[span] - begin).astype(np.int32)
        postings = Postings.build(corpus.terms[span], rows, corpus.frequencies[span], row_count=end - begin)
        ids = np.arange(begin, end)
        segment = Segment.build(ids, ids, np.zeros((len(ids), 1), np.float32), postings, _NO_POSTINGS)
        saturations = bm25.saturation(postings.lengths, average, k1=settings.k1, b=settings.b)
        mask = live[begin:end]
        parts.append(Part(segment=segment, sealed=None, live=mask, live_count=int(mask.sum()), saturations=saturations))
    generation = Generation(id=1, collection_id=1, model="", fingerprint="", dimension=1, state=GenerationState.ACTIVE)
    return Snapshot(
        collection=Collection(id=1, name="bench", settings=settings, active=generation, created_at=""),
        seq=1,
        newest_segment=0,
        tail_begin=0,
        parts=tuple(parts),
        passage_count=int(live.sum()),
        average_length=average,
    )


def _rival(corpus: Corpus, ids: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """A bm25s index of the passages `ids`, with our terms, formula and parameters."""
    settings = CollectionSettings()
    index = bm25s.BM25(method="lucene", k1=settings.k1, b=settings.b, backend="numba")
    starts = np.searchsorted(corpus.rows, np.arange(corpus.passages + 1))
    counts = corpus.frequencies.astype(np.int64)
    tokens = [np.repeat(corpus.terms[a:b], counts[a:b]) for a, b in zip(starts[ids], starts[ids + 1], strict=True)]
    index.index((tokens, {str(term): term for term in range(corpus.vocabulary)}), show_progress=False)
    return index


def _queries(queries: Sequence[Sequence[int]], length: int) -> Iterator[list[int]]:
    """QUERIES queries of `length` distinct terms."""
    order = np.random.default_rng(SEED).permutation(len(queries))
    stream = [term for _ in range(8) for place in order for term in queries[place]]
    query: dict[int, None] = {}
    found = 0
    for term in stream:
        query[term] = None
        if len(query) == length:
            yield list(query)
            query, found = {}, found + 1
            if found == QUERIES:
                return


def _fastest(contestants: Sequence[Callable[[list[int]], object]], queries: Sequence[list[int]]) -> list[float]:
    """Milliseconds of each contestant: the median over the queries of the fastest of ROUNDS rounds."""
    fastest = np.full((len(contestants), len(queries)), np.inf)
    for _ in range(ROUNDS):
        for row, search in enumerate(contestants):
            for column, query in enumerate(queries):
                begin = time.perf_counter()
                search(query)
                fastest[row, column] = min(fastest[row, column], time.perf_counter() - begin)
    return [1000 * statistics.median(row.tolist()) for row in fastest]


def _bytes(snapshot: Snapshot) -> int:
    postings = [part.segment.postings for part in snapshot.parts]
    return sum(p.terms.nbytes + p.offsets.nbytes + p.rows.nbytes + p.values.nbytes + p.lengths.nbytes for p in postings)


_NO_POSTINGS = Postings.build(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32), row_count=0)

if __name__ == "__main__":
    main()
