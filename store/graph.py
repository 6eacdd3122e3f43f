"""A navigable small world graph (HNSW) over one byte a dimension: an alternative to the scan, where it is asked for.

It takes some twenty times as long to build as codes, and four times their memory, and it never sees a filter: paths
through a graph break where most of it is masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from core.records import BoolArray, Float32Array, Int64Array
from store.quantizer import Quantizer, UInt8Array

_NEIGHBOURS = 32  # of a node; twice as many on the ground level
_BUILD_DEPTH = 100  # candidates that are kept while a node is put in
_SEARCH_DEPTH = 128  # while searching, at least
_new: Any = faiss.IndexHNSWSQ
_bitmap: Any = faiss.IDSelectorBitmap  # typed as the C++ constructor; its Python wrapper takes an array
_parameters: Any = vars(faiss)["SearchParametersHNSW"]  # its stubs leave it out


class Mask:
    """Which rows may be found. Read-only, and thread-safe."""

    def __init__(self, allowed: BoolArray) -> None:
        """`allowed`: (rows,)."""
        self._bits = np.packbits(allowed, bitorder="little")
        self.selector = _bitmap(self._bits)


class Graph:
    """Read-only, and thread-safe."""

    def __init__(self, stored: UInt8Array) -> None:
        """`stored`: as `make_graph` gives it."""
        self._index = faiss.deserialize_index(np.array(stored))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    def search(self, direction: Float32Array, count: int, mask: Mask | None) -> tuple[Int64Array, Float32Array]:
        """Rows, and about the dot products of their directions with `direction` (1, width), the best `count` of them.

        `mask`: the rows to choose from, nearly all of them; None: all. Fewer may come.
        """
        depth = max(_SEARCH_DEPTH, count)
        parameters = _parameters(efSearch=depth)
        if mask is not None:
            parameters = _parameters(efSearch=depth, sel=mask.selector)
        scores, rows = self._index.search(direction, min(count, self._index.ntotal), params=parameters)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def make_graph(quantizer: Quantizer, vectors: Iterable[Float32Array]) -> UInt8Array:
    """A graph of the vectors' directions, block by block, as FAISS writes it."""
    index = _new(quantizer.width, faiss.ScalarQuantizer.QT_8bit, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _BUILD_DEPTH
    for block in vectors:
        rotated = quantizer.rotate(block)
        if not index.is_trained:
            # One range for all dimensions: after the rotation they are alike.
            reach = float(np.abs(rotated).max())
            index.train(np.array([[-reach], [reach]], dtype=np.float32).repeat(quantizer.width, axis=1))
        index.add(rotated)
    stored: UInt8Array = faiss.serialize_index(index)
    return stored
