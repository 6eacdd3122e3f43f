"""Measure Salience's own share of a search with an external engine: `python -m bench.passageindex [--json]
[--passages N]`.

Data and searches are those of bench.search. The engine runs in this process, with a graph for the vectors and a matrix
for the weights; its time is left out of every figure, as another engine takes a different time. Each query counts with
the best of three rounds of all queries; p50 and p95 over the queries, in milliseconds. `brought_s`: seconds to hand all
passages over to the engine; `filled_s`: seconds to commit them, for this collection and for one with a local index.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from bench.command import Report, add_json, tell
from bench.search import CASES, NAME, QUERIES, fill, no_model, queries_of, show, summary, timed
from core.records import Float32Array, IndexKind, Int32Array, Int64Array
from embedder.lexical import Analyzer
from retriever.searcher import Searcher
from store import Database, Views
from store.indexreplication import Replication
from store.kernel_loading import load_kernel
from store.passageindex.protocol import Entries, Weights

PASSAGES = 20_000
_SEARCHES = ("hybrid", "dense", "sparse", "explained by scores", "filter, 10 %")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.passageindex", description="What a search costs beside it.")
    add_json(parser)
    parser.add_argument("--passages", type=int, default=PASSAGES, metavar="N", help=f"default {PASSAGES}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = run(Path(temporary), given.passages)
    tell(report, as_json=given.json, show=_show)


def _show(report: Report) -> None:
    print(f"{report['passages']} passages; filled in {report['filled_s']} s, brought in {report['brought_s']:g} s")
    show(report)


def run(directory: Path, passages: int, queries: int = QUERIES) -> dict[str, Any]:
    """The report; stages in milliseconds, `filled_s` and `brought_s` in seconds."""
    load_kernel()  # as a server does
    filled = {}
    for kind in (IndexKind.AUTO, IndexKind.MILVUS):
        database = Database.open(directory / kind.value)
        begun = time.perf_counter()
        fill(database, passages, kind)
        filled[kind.value] = round(time.perf_counter() - begun, 1)
        if kind is IndexKind.AUTO:
            database.close()
    engine = InMemory()
    begun = time.perf_counter()
    following = Replication(engine, quiet_seconds=0.0)
    while following.follow(database):
        pass
    brought = time.perf_counter() - begun
    engine.build()
    searcher = Searcher(Views(database, engine), no_model, Analyzer())
    asked, cases = queries_of(passages, queries), {}
    searcher.search(NAME, asked[0])
    for name in _SEARCHES:
        found = [replace(query, **CASES[name]) for query in asked]
        cases[name] = summary(lambda query: _own(searcher, engine, query), found)
    database.close()
    return {"passages": passages, "filled_s": filled, "brought_s": round(brought, 1), "cases": cases}


class InMemory:
    """A fast PassageIndex in memory. `seconds`: the time its answers have taken so far, by leg."""

    def __init__(self) -> None:
        self.seconds = {"dense": 0.0, "sparse": 0.0}
        self._held: list[Entries] = []

    def check(self) -> str:
        return "in memory"

    def create(self, name: str, dimension: int, *, learned: bool) -> None:
        pass

    def count(self, name: str) -> int:
        return sum(len(one.ids) for one in self._held)

    def drop(self, name: str) -> None:
        self._held.clear()

    def put(self, name: str, entries: Entries) -> None:
        self._held.append(replace(entries, vectors=entries.vectors.copy()))

    def remove(self, name: str, ids: Int64Array) -> None:
        raise NotImplementedError("nothing goes here")

    def build(self) -> None:
        """Build the index of all entries that were put."""
        self._ids = np.concatenate([one.ids for one in self._held])
        vectors = np.concatenate([one.vectors for one in self._held])
        self._graph: Any = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._graph.add(vectors)
        self._graph.hnsw.efSearch = 1_200
        blocks = [sparse.csr_matrix((one.bm25.weights, one.bm25.ids, one.bm25.offsets)) for one in self._held]
        width = max(block.shape[1] for block in blocks)
        for block in blocks:
            block.resize(block.shape[0], width)
        self._weights: Any = sparse.vstack(blocks).tocsc()

    def nearest(self, name: str, vector: Float32Array, limit: int, among: Int64Array | None = None) -> Int64Array:
        begun = time.perf_counter()
        rows = self._graph.search(vector[None], limit)[1][0]
        found: Int64Array = self._ids[rows[rows >= 0]]
        self.seconds["dense"] += time.perf_counter() - begun
        return found

    def matching(
        self,
        name: str,
        weights: Weights,
        ids: Int32Array,
        factors: Float32Array,
        limit: int,
        among: Int64Array | None = None,
    ) -> Int64Array:
        begun = time.perf_counter()
        scores = self._weights[:, ids] @ factors
        rows = np.argsort(-scores, kind="stable")[:limit]
        found: Int64Array = self._ids[rows[scores[rows] > 0]]
        self.seconds["sparse"] += time.perf_counter() - begun
        return found

    def holding(self, name: str, weights: Weights, ids: Int32Array) -> Int64Array:
        raise NotImplementedError("nothing asks for it here")

    def entries(self, name: str) -> Iterator[Entries]:
        return iter(self._held)


def _own(searcher: Searcher, engine: InMemory, query: Any) -> dict[str, float]:
    """Milliseconds by stage, without the engine's time."""
    before = dict(engine.seconds)
    found = timed(searcher, query)
    for leg, seconds in engine.seconds.items():
        spent = (seconds - before[leg]) * 1000
        found["total"] -= spent
        if leg in found:
            found[leg] -= spent
    return found


if __name__ == "__main__":
    main()
