"""A segment's codes in the packed layout of FAISS's SIMD table look-ups, some fifty times as fast as reading vectors.

A small segment has one list, which is read in full. A large one has lists around trained centroids; the caller, which
is store/stack.py, says which of them to read.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from core.records import Float32Array
from store.quantizer import Quantizer, UInt8Array

UInt16Array = npt.NDArray[np.uint16]

LISTED_ROWS = 10_000  # from here on there is more than one list
_TRAINING_ROWS = 50  # for each list
_TRAINING_ROUNDS = 10
_MOST_LISTS = 2**16


class FastScan:
    """The codes of one segment in lists: a copy of the codes plus 8 bytes per row. Read-only."""

    def __init__(self, quantizer: Quantizer, codes: UInt8Array, lists: UInt16Array | None, centroids: Float32Array):
        """`lists`: (rows,) the number of each row's list; None for a single list. `centroids`: (lists, width)."""
        self.quantizer = quantizer
        self.rows = len(codes)
        self.begin = _numbers.take(self.rows)  # row i has the number begin + i, unique among all open in this process
        weakref.finalize(self, _numbers.give_back, self.begin).atexit = False
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self.lists = len(centroids)
        mean = centroids.mean(axis=0)
        self.spread = 1 - float(mean @ mean)  # mean squared distance of the centroids from their mean
        # Lists of codes as they are stored. FAISS does not own the coarse index it is given, so this object keeps it.
        self._nowhere, plain = empty_index(faiss.IndexIVFPQ, quantizer, self.lists)
        order = np.arange(self.rows) if lists is None else np.argsort(lists, kind="stable")
        ends = [self.rows] if lists is None else np.cumsum(np.bincount(lists, minlength=self.lists))
        begin = 0
        for number, end in enumerate(ends):
            rows = order[begin:end]
            if len(rows):
                held = np.ascontiguousarray(codes if lists is None else codes[rows])
                numbers = rows + self.begin
                plain.invlists.add_entries(number, len(rows), faiss.swig_ptr(numbers), faiss.swig_ptr(held))
            begin = end
        plain.ntotal = self.rows
        packed: Any = faiss.IndexIVFPQFastScan(plain)
        packed.orig_invlists = None
        del packed.referenced_objects  # the wrapper would keep `plain` alive, a second copy of the codes
        self._packed = packed

    @property
    def inverted_lists(self) -> Any:
        """FAISS's inverted lists. They live as long as this object."""
        return self._packed.invlists


def list_count(rows: int) -> int:
    """Number of lists for a segment: it grows slowly with the rows, as a centroid costs 16 codes to compare with."""
    return 1 if rows < LISTED_ROWS else min(int(8 * math.cbrt(rows)), _MOST_LISTS)


def make_lists(
    quantizer: Quantizer, rows: int, vectors: Callable[[], Iterable[Float32Array]]
) -> tuple[UInt16Array, Float32Array]:
    """The number of each row's list, and (lists, width) rotated centroids, trained on a sample of the rows.

    `vectors`: yields all rows, block by block, anew at each call.
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
    training.min_points_per_centroid = 1  # otherwise FAISS warns on standard error
    nearest = faiss.IndexFlatIP(quantizer.width)
    training.train(quantizer.rotate(np.concatenate(chosen)), nearest)
    lists = [nearest.assign(quantizer.rotate(block), 1)[:, 0].astype(np.uint16) for block in vectors()]
    centroids = faiss.rev_swig_ptr(nearest.get_xb(), count * quantizer.width)
    return np.concatenate(lists), centroids.reshape(count, quantizer.width).copy()


def empty_index(kind: Any, quantizer: Quantizer, lists: int) -> tuple[Any, Any]:
    """A coarse index and an empty index of the FAISS class `kind` over lists of codes.

    The coarse index stands in for that of the centroids and must live as long as the other.
    """
    nowhere = faiss.IndexFlatIP(quantizer.width)  # never searched: the lists to read are always given
    nowhere.ntotal = lists
    index = kind(nowhere, quantizer.width, lists, quantizer.width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.is_trained = True
    faiss.copy_array_to_vector(quantizer.points.ravel(), index.pq.centroids)
    return nowhere, index


class _Numbers:
    """Allocates ranges of row numbers, the lowest free ones first, so that a bitmap over all of them stays small."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}  # of the taken ranges, by their beginning
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """Reserve `count` numbers, rounded up to a multiple of 8; the first of them, a multiple of 8 itself.

        At least 8 are reserved, so that an empty segment has a beginning of its own, too.
        """
        size = -(-max(count, 1) // 8) * 8
        with self._lock:
            begin = 0
            for taken, end in sorted(self._ends.copy().items()):
                if taken - begin >= size:
                    break
                begin = end
            self._ends[begin] = begin + size
            return begin

    def give_back(self, begin: int) -> None:
        """Free a range. Takes no lock: a finalizer calls it at any time, even within `take`."""
        del self._ends[begin]


_numbers = _Numbers()
