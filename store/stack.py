"""Search the codes of several segments as one, so that FAISS computes its look-up tables for a query only once.

The lists of the segments are concatenated without copying, which makes a stack cheap to create.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import faiss
import numpy as np

from core.records import BoolArray, Float32Array, Int64Array
from store.fastscan import FastScan, empty_index
from store.quantizer import quantizer

_ONE_QUERY = 11  # FAISS's implementation for a single query; by default it takes one for many, which is slower
# FAISS types these as the C++ constructors; its Python wrappers take an array and keywords.
_bitmap: Any = faiss.IDSelectorBitmap
_parameters: Any = faiss.SearchParametersIVF
# Missing from FAISS's stubs.
_pointers: Any = vars(faiss)["InvertedListsPtrVector"]
_stacked: Any = vars(faiss)["VStackInvertedLists"]


class Stack:
    """The lists of several scans, numbered in the order of the scans. Read-only and thread-safe."""

    def __init__(self, scans: Sequence[FastScan]) -> None:
        """`scans`: at least one, all with the same quantizer."""
        self.scans = tuple(scans)
        ends = np.cumsum([scan.lists for scan in self.scans]).tolist()
        self.lists: int = ends[-1]
        self.spans = [slice(end - scan.lists, end) for scan, end in zip(self.scans, ends, strict=True)]  # list numbers
        self._edges = np.array([[scan.begin, scan.begin + scan.rows] for scan in self.scans])
        used = self.scans[0].quantizer
        lists = _pointers()
        for scan in self.scans:
            lists.push_back(scan.inverted_lists)
        self._stacked = _stacked(len(self.scans), lists.data())
        self._nowhere, self._index = empty_index(faiss.IndexIVFPQFastScan, used, self.lists)
        self._index.replace_invlists(self._stacked, False)
        self._index.ntotal = sum(scan.rows for scan in self.scans)
        self._index.implem = _ONE_QUERY
        self._unmasked = _parameters(nprobe=self.lists)
        self._zeros = np.zeros(self.lists, dtype=np.float32)
        self._distances = faiss.swig_ptr(self._zeros)  # to the centroids: codes do not depend on them

    def near(self, direction: Float32Array) -> Float32Array:
        """(lists,) dot products of `direction` (1, width) with the centroids."""
        products = np.empty(self.lists, dtype=np.float32)
        for scan, span in zip(self.scans, self.spans, strict=True):
            np.dot(scan.centroids, direction[0], out=products[span])
        return products

    def search(
        self, direction: Float32Array, count: int, lists: Int64Array, masks: Mapping[int, BoolArray] | None = None
    ) -> list[tuple[Int64Array, Float32Array]]:
        """For each scan its rows found, ascending, and the approximate dot products of their directions with
        `direction` (1, width): the best `count` of all scans together, or fewer where there are fewer to choose from.

        `lists`: the numbers of the lists to read. `masks`: by the position of a scan, (rows,) which rows to choose
        from, and none from scans that are missing; None: all rows.
        """
        wanted = np.full(self.lists, -1, dtype=np.int64)  # FAISS skips -1
        wanted[: len(lists)] = lists
        count = min(count, self._index.ntotal)
        scores, numbers = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.int64)
        direction = np.ascontiguousarray(direction, dtype=np.float32)
        bits = None if masks is None else self._bits(masks)
        # Call FAISS's C++ method directly: its Python wrapper takes no parameters here.
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(direction),
            count,
            faiss.swig_ptr(wanted),
            self._distances,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(numbers),
            False,
            self._unmasked if bits is None else _parameters(nprobe=self.lists, sel=_bitmap(bits)),
        )
        order = np.argsort(numbers)  # -1 stands for missing results
        numbers, scores = numbers[order], scores[order]
        places = np.searchsorted(numbers, self._edges)
        return [
            (numbers[begin:end] - scan.begin, scores[begin:end])
            for scan, (begin, end) in zip(self.scans, places.tolist(), strict=True)
        ]

    def _bits(self, masks: Mapping[int, BoolArray]) -> Any:
        """A bitmap over row numbers."""
        bits = np.zeros(-(-int(self._edges.max()) // 8), dtype=np.uint8)
        for place, mask in masks.items():
            begin, packed = self.scans[place].begin // 8, np.packbits(mask, bitorder="little")
            bits[begin : begin + len(packed)] = packed
        return bits


@lru_cache(maxsize=1)
def unusable() -> str | None:
    """Why this machine should not scan codes; None: it can. Runs a test of a few milliseconds."""
    if faiss.SIMDConfig.get_level() == faiss.SIMDLevel_NONE:
        return "this processor, or this build of FAISS, has no SIMD instructions that make it fast"
    random = np.random.RandomState(0)
    vectors = random.standard_normal((512, 64)).astype(np.float32)
    used = quantizer(64)
    stack = Stack([FastScan(used, used.encode(vectors), None, np.zeros((1, used.width), dtype=np.float32))])
    directions = used.rotate(vectors)
    for row in (0, 100, 511):
        best = np.argsort(-(directions @ directions[row]))[:10]
        ((found, _),) = stack.search(directions[row : row + 1], 100, np.array([0]))
        if len(np.intersect1d(best, found)) < 8:
            return "the scan over codes finds wrong rows here"
    return None
