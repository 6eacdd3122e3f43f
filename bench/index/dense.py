"""Compare the dense leg with graphs: `python -m bench.index.dense [--json] [--rows N ...] [--quick] [--alone]`.

Ours searches a snapshot of four sealed segments on disk and a tail, with 1 % of the passages removed. It is compared
with FAISS's HNSW and hnswlib, each at the smallest depth whose recall of the ten nearest is at least that of ours and
at least 0.98; `floor` gives their figures at 0.98, which may be less than the recall of ours.

Each contestant is a process of its own. They take turns, a round of all queries each, one query at a time in one
thread: so a busy machine affects all alike, and no query profits from a processor cache that the same query has just
filled. Each query counts with its median over the rounds, and p50 is the median of those, in processor time. Building
is measured in processor time, too, as graphs are built by several threads to save the reader's time.

Memory is the increase of a process's memory by its index once it was searched: its own, and mapped pages of files,
which others share and the system may reclaim (`resident` in bench.memory). --alone leaves the graphs out: at a million
vectors, building them takes most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.command import Report, add_json, tell
from bench.index import contestants, vectors
from bench.index.contestants import Search
from bench.index.filters import measure_filters
from bench.memory import Resident, resident
from core.records import Float32Array, Int64Array

SIZES = [100_000, 1_000_000]
RECALL = 0.98
TARGETS = {"p50_ms": 1.2, "build_s": 1 / 5, "own_bytes": 1 / 8}  # upper limits, as multiples of the better graph's
_QUERIES = 200
_ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index.dense", description=__doc__)
    add_json(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors")
    parser.add_argument("--alone", action="store_true", help="without the graphs")
    parser.add_argument("--cache", type=Path, default=vectors.CACHE, help="a folder for the vectors")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        _contest(arguments.contestant, arguments.rows[0], arguments.folder, arguments.cache)
        return
    report = run([20_000] if arguments.quick else arguments.rows, alone=arguments.alone, cache=arguments.cache)
    tell(report, as_json=arguments.json, show=show)


def run(sizes: list[int], *, alone: bool = False, cache: Path = vectors.CACHE) -> Report:
    """Figures by number of vectors and contestant.

    `ratio`: ours over the better graph's. `wrong`: recall under RECALL, or fewer hits than there are.
    """
    report: Report = {"targets": TARGETS}
    for rows in sizes:
        vectors.vectors(rows, cache)  # made here, once
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _truth(rows, Path(folder), cache)
            names = ["ours"] if alone else ["ours", "faiss", "hnswlib"]
            report[str(rows)] = _compared(rows, Path(folder), cache, names)
    return report | {"wrong": [line for rows in sizes for line in _missed(rows, report[str(rows)]["ours"])]}


def _missed(rows: int, ours: Report) -> Iterator[str]:
    for name, found in {"all": ours, **ours["filters"]}.items():
        if found["recall"] < RECALL or found.get("missing"):
            yield f"{rows} vectors, {name}: recall {found['recall']:.3f}, {found.get('missing', 0)} missing"


def _compared(rows: int, folder: Path, cache: Path, names: list[str]) -> Report:
    with ExitStack() as stack:
        # One after the other: each has the machine for itself while it builds.
        children = {name: stack.enter_context(Child(name, rows, folder, cache)) for name in names}
        found = {name: child.built for name, child in children.items()}
        contests: list[tuple[Report, Child, int | None]] = [(found["ours"], children["ours"], None)]
        enough = max(RECALL, children["ours"].ask(k=10)["recall"])
        for name in names[1:]:
            found[name]["floor"] = {}
            for figures, recall in ((found[name], enough), (found[name]["floor"], RECALL)):
                figures["depth"] = _least_depth(children[name], recall)
                contests.append((figures, children[name], figures["depth"]))
        times: list[list[list[float]]] = [[] for _ in contests]
        for _ in range(_ROUNDS):
            for (figures, child, depth), rounds in zip(contests, times, strict=True):
                answer = child.ask(k=10, depth=depth)
                figures["recall"] = answer["recall"]
                rounds.append(answer["ms"])
        for (figures, _, _), rounds in zip(contests, times, strict=True):
            figures |= _summary(rounds)
        for name, child in children.items():
            found[name] |= child.ask(memory=True)
        pools = [children["ours"].ask(k=1000) for _ in range(_ROUNDS)]
        found["ours"]["pools_of_1000"] = {"recall": pools[0]["recall"]} | _summary([answer["ms"] for answer in pools])
        found["ours"]["filters"] = children["ours"].ask(filters=True)
    if len(names) > 1:
        graphs = [found[name] for name in names[1:]]
        found["ratio"] = {
            key: found["ours"][key] / min(graph[key] for graph in graphs) for key in ("p50_ms", "build_s", "own_bytes")
        }
        found["ratio"]["floor_p50_ms"] = found["ours"]["p50_ms"] / min(graph["floor"]["p50_ms"] for graph in graphs)
    return found


def _least_depth(graph: Child, recall: float) -> int:
    """The smallest depth at which the graph reaches this recall; the largest one if it never does."""
    for depth in contestants.DEPTHS:
        if graph.ask(k=10, depth=depth)["recall"] >= recall:
            break
    return depth


class Child:
    """A contestant in a process of its own, which has built its index. Answers one question at a time."""

    def __init__(self, name: str, rows: int, folder: Path, cache: Path) -> None:
        command = [sys.executable, "-m", "bench.index.dense"]
        command += ["--contestant", name, "--rows", str(rows), "--folder", str(folder), "--cache", str(cache)]
        # Make idle threads sleep: active waiting would count as processor time.
        single = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | single
        )
        self.built = self._answer()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # it ends when its input does

    def ask(self, **question: Any) -> Report:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Report:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant ended with status {self._process.wait()}; what it said stands above")
        answer: Report = json.loads(line)
        return answer


def show(report: Report) -> None:
    console = Console()
    for rows, found in report.items():
        if not rows.isdigit():
            continue
        table = Table(
            "", "recall@10", "p50 ms", "build s", "own bytes a vector", title=f"{int(rows):,} vectors", box=None
        )
        for name, figures in found.items():
            if name == "ratio":
                table.add_row(name, "", *(f"{figures[key]:.2f}" for key in TARGETS))
            else:
                cells = (f"{figures['recall']:.3f}", f"{figures['p50_ms']:.2f}", f"{figures['build_s']:.0f}")
                table.add_row(name, *cells, f"{figures['own_bytes_a_vector']:.0f}")
                if floor := figures.get("floor"):
                    table.add_row(f"{name}, {RECALL:g} or more", f"{floor['recall']:.3f}", f"{floor['p50_ms']:.2f}")
        console.print(table)
        pools = found["ours"]["pools_of_1000"]
        console.print(f"pools of 1,000: recall {pools['recall']:.4f}, p50 {pools['p50_ms']:.2f} ms")
        console.print(f"start to first hit {found['ours']['first_hit_s']:.2f} s")
        for name, figures in found["ours"]["filters"].items():
            console.print(f"  {name:12} recall {figures['recall']:.3f}  p50 {figures['p50_ms']:.2f} ms")


def _contest(name: str, rows: int, folder: Path, cache: Path) -> None:
    """The process behind `Child`: builds the index, and answers questions until its input ends."""
    everything, asked = vectors.vectors(rows, cache), vectors.queries(cache)[:_QUERIES]
    if name == "build":
        _say(_build(everything, folder))
        return
    live = np.setdiff1d(np.arange(rows), contestants.removed_rows(rows))
    truth = np.load(folder / "truth.npy")
    report: Report = {}
    if name == "ours":
        with Child("build", rows, folder, cache) as builder:  # memory left over from building should not count
            report = builder.built
    before = resident()
    begin, wall = time.process_time(), time.perf_counter()
    by_depth: Mapping[int | None, Search]
    if name == "ours":
        parts = contestants.open_parts(folder, pickle.loads((folder / "rows.pickle").read_bytes()), everything)
        by_depth = {None: contestants.ours(parts)}
        by_depth[None](asked[0], 10)
        report["first_hit_s"] = time.perf_counter() - wall
    else:
        contestant = {"faiss": contestants.faiss_graph, "hnswlib": contestants.hnswlib_graph}[name]
        by_depth = contestant(everything, live)
        report["build_s"] = time.process_time() - begin
    faiss.omp_set_num_threads(1)
    _say(report)
    for line in sys.stdin:
        question = json.loads(line)
        if "memory" in question:
            _say(_memory(before, rows))
        elif "filters" in question:
            _say(measure_filters(parts, everything, live, asked))
        else:
            _say(_round(by_depth[question.get("depth")], asked, truth, question["k"]))


def _build(everything: Float32Array, folder: Path) -> Report:
    begin = time.process_time()
    sealed = contestants.write_segments(folder, everything)
    seconds = time.process_time() - begin
    (folder / "rows.pickle").write_bytes(pickle.dumps(sealed))
    return {"build_s": seconds, "file_bytes": sum(row.seal.size for row in sealed)}


def _say(answer: Report) -> None:
    print(json.dumps(answer), flush=True)


def _round(search: Search, asked: Float32Array, truth: Int64Array, k: int) -> Report:
    times, shares = [], []
    for query, best in zip(asked, truth, strict=True):
        begin = time.thread_time()
        found = search(query, k)
        times.append(1000 * (time.thread_time() - begin))
        shares.append(len(np.intersect1d(found, best[:k])) / k)
    return {"recall": statistics.fmean(shares), "ms": times}


def _summary(rounds: list[list[float]]) -> Report:
    each = [statistics.median(times) for times in zip(*rounds, strict=True)]
    return {"p50_ms": statistics.median(each), "p95_ms": statistics.quantiles(each, n=20)[-1]}


def _memory(before: Resident, rows: int) -> Report:
    own, mapped = resident()
    return {
        "own_bytes": own - before.own,
        "own_bytes_a_vector": (own - before.own) / rows,
        "file_pages_bytes": mapped - before.mapped,
    }


def _truth(rows: int, folder: Path, cache: Path) -> None:
    """Save the 1000 nearest live rows of each query, by exact search: (queries, 1000)."""
    live = np.setdiff1d(np.arange(rows), contestants.removed_rows(rows))
    _, found = faiss.knn(
        vectors.queries(cache)[:_QUERIES], vectors.vectors(rows, cache)[live], 1000, metric=faiss.METRIC_INNER_PRODUCT
    )
    np.save(folder / "truth.npy", live[found])


if __name__ == "__main__":
    main()
