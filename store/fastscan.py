"""Codes of segments in the packed form that FAISS's SIMD table look-ups read: some fifty times as fast as vectors.

Few rows lie in one list, all of which is read. Many lie in lists around trained centroids: whoever asks says which of
them to read. store/stack.py asks.
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

LISTED_ROWS = 10_000  # from here on there are lists
_TRAINING_ROWS = 50  # for each list
_TRAINING_ROUNDS = 10
_MOST_LISTS = 2**16


class FastScan:
    """The codes of one segment in lists: a copy of them, plus 8 bytes a row. Read-only."""

    def __init__(self, quantizer: Quantizer, codes: UInt8Array, lists: UInt16Array | None, centroids: Float32Array):
        """`lists`: (rows,) the number of each row's list; None where there is one. `centroids`: (lists, width)."""
        self.quantizer = quantizer
        self.rows = len(codes)
        self.begin = _numbers.take(self.rows)  # row i has the number begin + i among all that this process has open
        weakref.finalize(self, _numbers.give_back, self.begin).atexit = False
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self.lists = len(centroids)
        mean = centroids.mean(axis=0)
        self.spread = 1 - float(mean @ mean)  # mean squared distance of the centroids from their mean
        # Lists of codes as they are stored. No index owns what it takes for the centroids' index.
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
        del packed.referenced_objects  # `plain`, which the wrapper would keep: a second copy of the codes
        self._packed = packed

    @property
    def inverted_lists(self) -> Any:
        """The lists, as FAISS has them. They live as long as this."""
        return self._packed.invlists


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


def empty_index(kind: Any, quantizer: Quantizer, lists: int) -> tuple[Any, Any]:
    """An empty index of the class `kind` of FAISS over lists of codes; before it, what it takes for the index of their
    centroids, which must live as long.
    """
    nowhere = faiss.IndexFlatIP(quantizer.width)  # the lists to read are always given
    nowhere.ntotal = lists
    index = kind(nowhere, quantizer.width, lists, quantizer.width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.is_trained = True
    faiss.copy_array_to_vector(quantizer.points.ravel(), index.pq.centroids)
    return nowhere, index


class _Numbers:
    """Which numbers of rows are taken. The lowest free ones are given: a bitmap over all of them stays small."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}  # by beginning
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """The first of `count` numbers, which go on to the next multiple of 8; a multiple of 8 itself.

        At least 8 are taken: what has no rows has a beginning of its own all the same.
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
        """Takes no lock: it is called wherever an object happens to end, in `take` as well."""
        del self._ends[begin]


_numbers = _Numbers()
