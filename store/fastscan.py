"""A scan over four-bit codes with SIMD table look-ups: some fifty times as fast as one over the vectors.

Few rows lie in one list, all of which is read. Many lie in lists around trained centroids: whoever asks says which of
them to read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from core.records import BoolArray, Float32Array, Int64Array
from store.quantizer import Quantizer, UInt8Array, quantizer

UInt16Array = npt.NDArray[np.uint16]

LISTED_ROWS = 10_000  # from here on there are lists
_TRAINING_ROWS = 20  # for each list
_TRAINING_ROUNDS = 4
_MOST_LISTS = 2**16
_ONE_QUERY = 11  # FAISS's way through the lists for a single query: it chooses one for many, which is slower
# FAISS types these as the C++ constructors; its Python wrappers take an array and keywords.
_bitmap: Any = faiss.IDSelectorBitmap
_parameters: Any = faiss.SearchParametersIVF


class Mask:
    """Which rows of one segment may be found. Read-only, and thread-safe."""

    def __init__(self, allowed: BoolArray) -> None:
        """`allowed`: (rows,)."""
        self.bits: UInt8Array = np.packbits(allowed, bitorder="little")
        self.selector = _bitmap(self.bits)
        self._parameters: tuple[int, Any] = (0, None)

    def parameters(self, lists: int) -> Any:
        """For FAISS to search so many lists. Kept, as making them takes as long as reading 500 rows."""
        if self._parameters[0] != lists:
            self._parameters = (lists, _parameters(nprobe=lists, sel=self.selector))
        return self._parameters[1]

    def holds(self, rows: Int64Array) -> BoolArray:
        """(n,) whether each of `rows` may be found."""
        held: BoolArray = (self.bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1
        return held


class FastScan:
    """A FAISS index over codes, in packed form: a copy of them, plus 8 bytes a row. Read-only, and thread-safe."""

    def __init__(self, quantizer: Quantizer, codes: UInt8Array, lists: UInt16Array | None, centroids: Float32Array):
        """`lists`: (rows,) the number of each row's list; None where there is one. `centroids`: (lists, width)."""
        self.lists = len(centroids)
        mean = centroids.mean(axis=0)
        self.spread = 1 - float(mean @ mean)  # mean squared distance of the centroids from their mean
        self._centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        nowhere = faiss.IndexFlatIP(quantizer.width)  # the lists to read are always given
        nowhere.ntotal = len(centroids)
        plain: Any = faiss.IndexIVFPQ(
            nowhere, quantizer.width, len(centroids), quantizer.width // 2, 4, faiss.METRIC_INNER_PRODUCT
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
        self._nowhere = nowhere  # the index does not own it
        self._index: Any = faiss.IndexIVFPQFastScan(plain)
        self._index.implem = _ONE_QUERY
        self._unmasked = _parameters(nprobe=len(centroids))
        self._every = np.arange(len(centroids), dtype=np.int64)
        self._zeros = np.zeros(len(centroids), dtype=np.float32)
        self._distances = faiss.swig_ptr(self._zeros)  # of the centroids: codes do not depend on them

    def near(self, direction: Float32Array) -> Float32Array:
        """(lists,) the products of `direction` (1, width) with the centroids."""
        products: Float32Array = self._centroids @ direction[0]
        return products

    def search(
        self, direction: Float32Array, count: int, mask: Mask | None, lists: Int64Array | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """Rows, and about the dot products of their directions with `direction` (1, width), the best `count` of them.

        `mask`: the rows to choose from; None: all. `lists`: numbers of those to read; None: all. Fewer than `count`
        come only where fewer are there to choose from.
        """
        wanted = self._every
        if lists is not None:
            wanted = np.full(len(self._every), -1, dtype=np.int64)  # FAISS passes over -1
            wanted[: len(lists)] = lists
        count = min(count, self._index.ntotal)
        scores, rows = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.int64)
        direction = np.ascontiguousarray(direction, dtype=np.float32)
        # The call under FAISS's Python wrapper, which takes no parameters here.
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(direction),
            count,
            faiss.swig_ptr(wanted),
            self._distances,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,
            self._unmasked if mask is None else mask.parameters(len(self._every)),
        )
        found = rows >= 0
        return rows[found], scores[found]


def list_count(rows: int) -> int:
    """How many lists a segment's rows are put in: few more for more rows, as a centroid costs 16 codes."""
    return 1 if rows < LISTED_ROWS else min(int(8 * math.cbrt(rows)), _MOST_LISTS)


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
        found, _ = scan.search(directions[row : row + 1], 100, None)
        if len(np.intersect1d(best, found)) < 8:
            return "the scan over codes finds wrong rows here"
    return None
