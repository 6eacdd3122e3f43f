"""The approximate index of a sealed segment: it names likely candidates fast, and the caller scores them exactly.

It consists of our own arrays, made when a segment is written and opened with it: codes, which a merge copies; the lists
that they are in, where there are several; and a graph, where the collection asks for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import faiss
import numpy as np

from core.records import Float32Array, IndexKind, Int64Array
from store.arrayfile import Array
from store.fastscan import FastScan, list_count, make_lists
from store.graph import Graph, make_graph
from store.quantizer import UInt8Array, quantizer
from store.stack import Stack, unusable

CODED_ROWS = 1_000  # rows from which on a segment has codes; the vectors of smaller ones are read quickly enough
EVEN = 0.02  # vector lengths that differ by a smaller share than this count as equal
_MOST_UNEVEN = 0.02  # share of rows with another length, up to which every search scores them one by one
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The approximate index of one segment. Read-only and thread-safe."""

    codes: UInt8Array  # (rows, bytes) as stored
    length: float  # of most vectors
    uneven: Int64Array  # rows with another length: always candidates
    fast: FastScan | None  # searched in a stack; None on a machine where it would be slow
    graph: Graph | None


def stacked(scans: Iterable[Scan]) -> tuple[Stack, ...]:
    """The scans with codes, grouped into stacks of similar vector lengths; usually one stack."""
    stacks: list[list[FastScan]] = []
    shortest = 0.0  # vector length at which the newest stack begins
    by_length = sorted((scan for scan in scans if scan.fast is not None), key=lambda scan: scan.length)
    for scan in by_length:
        assert scan.fast is not None
        if not stacks or scan.length > (1 + EVEN) * shortest:
            stacks.append([])
            shortest = scan.length
        stacks[-1].append(scan.fast)
    return tuple(Stack(members) for members in stacks)


def scan_arrays(
    rows: int,
    vectors: Callable[[], Iterable[Float32Array]],
    codes: Iterable[UInt8Array],
    kind: IndexKind,
) -> dict[str, Array]:
    """The arrays to store with a segment of so many rows; empty where reading its vectors is the better way.

    `vectors`: yields all rows, block by block, anew at each call; `codes`: their `codes_of`, in blocks.
    """
    if rows < CODED_ROWS or kind is IndexKind.EXACT:
        return {}
    faiss.omp_set_num_threads(1)  # of the calling thread: leaves room for searches, and makes a graph reproducible
    lengths = np.concatenate([np.sqrt(np.vecdot(block, block)) for block in vectors()])
    length = float(np.median(lengths))
    uneven = np.flatnonzero(np.abs(lengths - length) > EVEN * length)
    if len(uneven) > _MOST_UNEVEN * rows:
        return {}
    used = quantizer(next(iter(vectors())).shape[1])
    arrays: dict[str, Array] = {
        "codes": np.concatenate(list(codes)),
        "length": np.array([length]),
        "uneven": uneven,
    }
    if list_count(rows) > 1:
        arrays["lists"], arrays["centroids"] = make_lists(used, rows, vectors)
    if kind is IndexKind.HNSW:
        arrays["graph"] = make_graph(used, vectors())
    return arrays


def open_scan(arrays: Mapping[str, Array], dimension: int) -> Scan | None:
    """Open the result of `scan_arrays`; None where it is empty, or this machine has no fast way to search it."""
    if not arrays:
        return None
    used = quantizer(dimension)
    fast = None
    if _warned(unusable()) is None:
        centroids = arrays.get("centroids", np.zeros((1, used.width), dtype=np.float32))
        fast = FastScan(used, arrays["codes"], arrays.get("lists"), centroids)
    graph = Graph(arrays["graph"]) if "graph" in arrays else None
    if fast is None and graph is None:
        return None
    return Scan(
        codes=arrays["codes"],
        length=float(arrays["length"][0]),
        uneven=arrays["uneven"],
        fast=fast,
        graph=graph,
    )


def codes_of(vectors: Float32Array, scan: Scan | None) -> UInt8Array:
    """(rows, bytes) the codes of a segment's vectors, stored or newly computed."""
    return quantizer(vectors.shape[1]).encode(vectors) if scan is None else scan.codes


@lru_cache(maxsize=4)
def _warned(reason: str | None) -> str | None:
    if reason is not None:
        _log.warning("dense search reads all vectors, which is slower: %s", reason)
    return reason
