"""A scan over four-bit codes with SIMD table look-ups: some fifty times as fast as one over the vectors.

Few rows lie in one list, all of which is read. Many lie in lists around trained centroids, and only those nearest to
the query are read, unless all are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from core.records import Float32Array, Int64Array
from store.quantizer import Quantizer, UInt8Array, quantizer

UInt16Array = npt.NDArray[np.uint16]

LISTED_ROWS = 100_000  # from here on there are lists
_TRAINING_ROWS = 40  # for each list
_TRAINING_ROUNDS = 8
_PROBES = ((1_000, 96), (5_000, 256))  # up to so many candidates: lists that are read
_MOST_LISTS = 2**16
# FAISS types these as the C++ constructors; its Python wrappers take an array and keywords.
_bitmap: Any = faiss.IDSelectorBitmap
_parameters: Any = faiss.SearchParametersIVF


class FastScan:
    """A FAISS index over codes, in packed form: a copy of them, plus 8 bytes a row. Read-only, and thread-safe."""

    def __init__(self, quantizer: Quantizer, codes: UInt8Array, lists: UInt16Array | None, centroids: Float32Array):
        """`lists`: (rows,) the number of each row's list; None where there is one. `centroids`: (lists, width)."""
        self._centroids = faiss.IndexFlatIP(quantizer.width)  # the index does not own it
        self._centroids.add(np.ascontiguousarray(centroids, dtype=np.float32))
        plain: Any = faiss.IndexIVFPQ(
            self._centroids, quantizer.width, len(centroids), quantizer.width // 2, 4, faiss.METRIC_INNER_PRODUCT
        )
        plain.by_residual = False
        plain.is_trained = True
        faiss.copy_array_to_vector(quantizer.points.ravel(), plain.pq.centroids)
        order = np.arange(len(codes)) if lists is None else np.argsort(lists, kind="stable")
        ends = [len(codes)] if lists is None else np.cumsum(np.bincount(lists, minlength=len(centroids)))
        begin = 0
        for number, end in enumerate(ends):
            rows = order[begin:end]
            held = np.ascontiguousarray(codes if lists is None else codes[rows])
            if len(rows):
                plain.invlists.add_entries(number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(held))
            begin = end
        plain.ntotal = len(codes)
        self._index = faiss.IndexIVFPQFastScan(plain)

    def search(
        self, direction: Float32Array, count: int, allowed: UInt8Array | None, *, thorough: bool
    ) -> tuple[Int64Array, Float32Array]:
        """Rows, and about the dot products of their directions with `direction` (1, width), the best `count` of them.

        `allowed`: bits of the rows to choose from, the first row in the lowest bit; None: all. Fewer than `count` come
        only where fewer are allowed, or lie in the lists that were read: in every one, when it is to be `thorough`.
        """
        probes = self._index.nlist
        if not thorough:
            probes = min(next((probes for most, probes in _PROBES if count <= most), probes), probes)
        parameters = _parameters(nprobe=probes) if allowed is None else _parameters(nprobe=probes, sel=_bitmap(allowed))
        scores, rows = self._index.search(direction, min(count, self._index.ntotal), params=parameters)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def list_count(rows: int) -> int:
    """How many lists a segment's rows are put in."""
    return 1 if rows < LISTED_ROWS else min(int(2 * math.sqrt(rows)), _MOST_LISTS)


def make_lists(
    quantizer: Quantizer, rows: int, vectors: Callable[[], Iterable[Float32Array]]
) -> tuple[UInt16Array, Float32Array]:
    """The number of each row's list, and (lists, width) rotated centroids, trained on a sample of the rows.

    `vectors`: gives all rows anew at each call, block by block.
    """
    count = list_count(rows)
    random = np.random.RandomState(0)
    sample = np.zeros(rows, dtype=np.bool_)
    sample[random.permutation(rows)[: count * _TRAINING_ROWS]] = True
    chosen, begin = [], 0
    for block in vectors():
        chosen.append(block[sample[begin : begin + len(block)]])
        begin += len(block)
    training = faiss.Clustering(quantizer.width, count)
    training.niter, training.spherical, training.seed = _TRAINING_ROUNDS, True, 1
    training.min_points_per_centroid = 1  # else it warns on the standard error
    nearest = faiss.IndexFlatIP(quantizer.width)
    training.train(quantizer.rotate(np.concatenate(chosen)), nearest)
    lists = [nearest.assign(quantizer.rotate(block), 1)[:, 0].astype(np.uint16) for block in vectors()]
    centroids = faiss.rev_swig_ptr(nearest.get_xb(), count * quantizer.width)
    return np.concatenate(lists), centroids.reshape(count, quantizer.width).copy()


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why this machine should not scan codes; None: it can. Tries it once, in a few milliseconds."""
    if faiss.SIMDConfig.get_level() == faiss.SIMDLevel_NONE:
        return "this processor, or this build of FAISS, has no SIMD instructions that make it fast"
    random = np.random.RandomState(0)
    vectors = random.standard_normal((512, 64)).astype(np.float32)
    used = quantizer(64)
    scan = FastScan(used, used.encode(vectors), None, np.zeros((1, used.width), dtype=np.float32))
    directions = used.rotate(vectors)
    for row in (0, 100, 511):
        best = np.argsort(-(directions @ directions[row]))[:10]
        found, _ = scan.search(directions[row : row + 1], 100, None, thorough=True)
        if len(np.intersect1d(best, found)) < 8:
            return "the scan over codes finds wrong rows here"
    return None
