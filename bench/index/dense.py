"""The dense leg against graphs: `python -m bench.index.dense [--json] [--rows N ...] [--quick] [--alone]`.

Ours goes through a snapshot of four sealed segments over their files and a tail, with 1 % of the passages removed;
against it stand FAISS's HNSW and hnswlib, each at the least depth that recalls 0.98 of the ten nearest. One thread, one
query at a time, each contestant in a process of its own. The machine may be busy: searching and building are measured
in processor time, of each query the fastest of three rounds counts, and of those the median. Memory is what a process
has more of when its index is there and was searched: of its own, and of pages of files, which others share and the
system may take back. --alone leaves the graphs out: at a million vectors they take an hour on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.index import contestants, vectors
from bench.index.contestants import Search
from bench.index.filters import measure_filters
from core.records import Float32Array, Int64Array

Report = dict[str, Any]
SIZES = [100_000, 1_000_000]
RECALL = 0.98
TARGETS = {"p50": 1.2, "build": 1 / 5, "memory": 1 / 8}  # of the better graph's, at most
_QUERIES = 100
_ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index.dense", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors")
    parser.add_argument("--alone", action="store_true", help="without the graphs")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(_contestant(arguments.contestant, arguments.rows[0], arguments.folder)))
        return
    report = run([20_000] if arguments.quick else arguments.rows, alone=arguments.alone)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def run(sizes: list[int], *, alone: bool = False) -> Report:
    """By number of vectors and contestant; `ratio`: ours to the better graph's."""
    report: Report = {"targets": TARGETS}
    for rows in sizes:
        vectors.vectors(rows)  # made here, once
        with tempfile.TemporaryDirectory(dir=vectors.CACHE) as folder:
            _truth(rows, Path(folder))
            found = {"ours": _child("build", rows, folder) | _child("ours", rows, folder)}
            if not alone:
                found |= {name: _child(name, rows, folder) for name in ("faiss", "hnswlib")}
                graphs = [found["faiss"], found["hnswlib"]]
                found["ratio"] = {
                    "p50": found["ours"]["p50_ms"] / min(graph["p50_ms"] for graph in graphs),
                    "build": found["ours"]["build_s"] / min(graph["build_s"] for graph in graphs),
                    "memory": found["ours"]["own_bytes"] / min(graph["own_bytes"] for graph in graphs),
                }
        report[str(rows)] = found
    return report


def show(report: Report) -> None:
    console = Console()
    for rows, found in report.items():
        if rows == "targets":
            continue
        table = Table(
            "", "recall@10", "p50 ms", "build s", "own bytes a vector", title=f"{int(rows):,} vectors", box=None
        )
        for name, figures in found.items():
            if name == "ratio":
                table.add_row(name, "", *(f"{figures[key]:.2f}" for key in ("p50", "build", "memory")))
            else:
                cells = (f"{figures['recall']:.3f}", f"{figures['p50_ms']:.2f}", f"{figures['build_s']:.0f}")
                table.add_row(name, *cells, f"{figures['own_bytes_a_vector']:.0f}")
        console.print(table)
        pools = found["ours"]["pools_of_1000"]
        console.print(f"pools of 1,000: recall {pools['recall']:.4f}, p50 {pools['p50_ms']:.2f} ms")
        console.print(f"start to first hit {found['ours']['first_hit_s']:.2f} s")
        for name, figures in found["ours"]["filters"].items():
            console.print(f"  {name:12} recall {figures['recall']:.3f}  p50 {figures['p50_ms']:.2f} ms")


def _child(name: str, rows: int, folder: str) -> Report:
    command = [sys.executable, "-m", "bench.index.dense", "--contestant", name, "--rows", str(rows), "--folder", folder]
    found: Report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def _contestant(name: str, rows: int, folder: Path) -> Report:
    faiss.omp_set_num_threads(1)
    everything = vectors.vectors(rows)
    if name == "build":
        begin = time.process_time()
        sealed = contestants.write_segments(folder, everything)
        seconds = time.process_time() - begin
        (folder / "rows.pickle").write_bytes(pickle.dumps(sealed))
        return {"build_s": seconds, "file_bytes": sum(row.seal.size for row in sealed)}
    asked = vectors.queries()[:_QUERIES]
    truth = np.load(folder / "truth.npy")
    live = np.setdiff1d(np.arange(rows), contestants.removed_rows(rows))
    before = _resident()
    begin, wall = time.process_time(), time.perf_counter()
    if name == "ours":
        parts = contestants.open_parts(folder, pickle.loads((folder / "rows.pickle").read_bytes()), everything)
        search = contestants.ours(parts)
        search(asked[0], 10)
        first = time.perf_counter() - wall
        report: Report = {"first_hit_s": first} | _at(search, asked, truth)
        report["pools_of_1000"] = _at(search, asked, truth, k=1000)
        report |= _memory(before, rows)
        report["filters"] = measure_filters(parts, everything, live, asked)
        return report
    built = (contestants.build_faiss if name == "faiss" else contestants.build_hnswlib)(everything, live)
    seconds = time.process_time() - begin
    by_depth = contestants.search_faiss(built, live) if name == "faiss" else contestants.search_hnswlib(built)
    return {"build_s": seconds} | _least_depth(by_depth, asked, truth) | _memory(before, rows)


def _least_depth(by_depth: Mapping[int, Search], asked: Float32Array, truth: Int64Array) -> Report:
    for depth, search in by_depth.items():
        found = {"depth": depth} | _at(search, asked, truth)
        if found["recall"] >= RECALL:
            break
    return found


def _at(search: Search, asked: Float32Array, truth: Int64Array, *, k: int = 10) -> Report:
    fastest, shares = [], []
    for query, best in zip(asked, truth, strict=True):
        times = []
        for _ in range(_ROUNDS):
            begin = time.thread_time()
            found = search(query, k)
            times.append(time.thread_time() - begin)
        fastest.append(min(times))
        shares.append(len(np.intersect1d(found, best[:k])) / k)
    return {"recall": statistics.fmean(shares), "p50_ms": 1000 * statistics.median(fastest)}


def _memory(before: tuple[int, int], rows: int) -> Report:
    own, files = _resident()
    return {
        "own_bytes": own - before[0],
        "own_bytes_a_vector": (own - before[0]) / rows,
        "file_pages_bytes": files - before[1],
    }


def _resident() -> tuple[int, int]:
    """Bytes of this process's own memory, and of pages of files, that are in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = {name: int(value.split()[0]) for name, value in (line.split(":", 1) for line in lines) if "kB" in value}
    return 1024 * kibibytes["RssAnon"], 1024 * kibibytes["RssFile"]


def _truth(rows: int, folder: Path) -> None:
    """(queries, 1000) the nearest live rows."""
    live = np.setdiff1d(np.arange(rows), contestants.removed_rows(rows))
    _, found = faiss.knn(
        vectors.queries()[:_QUERIES], vectors.vectors(rows)[live], 1000, metric=faiss.METRIC_INNER_PRODUCT
    )
    np.save(folder / "truth.npy", live[found])


if __name__ == "__main__":
    main()
