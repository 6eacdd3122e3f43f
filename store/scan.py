"""How the likely best rows of a sealed segment are found fast, to be scored exactly by whoever asked.

What is made when a segment is written, and opened with it, are arrays of our own: codes, which a merge copies; the
lists that they lie in, where they are many; a graph, where the collection asks for one.
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

CODED_ROWS = 1_000  # rows of a segment from which on it has codes; the vectors of fewer are soon read
EVEN = 0.02  # lengths of vectors that differ by less than this share count as one
_MOST_UNEVEN = 0.02  # share of rows of another length that are looked at one by one in every search
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What names candidates among the rows of a segment. Read-only, and thread-safe."""

    codes: UInt8Array  # (rows, bytes) as they are stored
    length: float  # of most vectors
    uneven: Int64Array  # rows of another length: always candidates
    fast: FastScan | None  # searched in a stack; None on a machine where it would be slow
    graph: Graph | None


def stacked(scans: Iterable[Scan]) -> tuple[Stack, ...]:
    """Those that read codes, in stacks of about one length of vectors: mostly one."""
    stacks: list[list[FastScan]] = []
    shortest = 0.0  # length of the newest stack's
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
    """What is to be stored with a segment of so many rows; nothing where its vectors had better be read.

    `vectors`: gives all rows anew at each call, block by block; `codes`: `codes_of` them, in blocks.
    """
    if rows < CODED_ROWS or kind is IndexKind.EXACT:
        return {}
    faiss.omp_set_num_threads(1)  # of the calling thread: searches go on beside it, and a graph is the same each time
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
    """Of what `scan_arrays` gave; None where that was nothing, or there is no fast way on this machine."""
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
    """(rows, bytes) the codes of a segment's vectors: those that are stored, or new ones."""
    return quantizer(vectors.shape[1]).encode(vectors) if scan is None else scan.codes


@lru_cache(maxsize=4)
def _warned(reason: str | None) -> str | None:
    if reason is not None:
        _log.warning("dense search reads all vectors, which is slower: %s", reason)
    return reason
