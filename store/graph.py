"""An HNSW graph (hierarchical navigable small world) over vectors of one byte per dimension: an optional index.

Compared with the codes that are scanned by default it takes some twenty times as long to build and four times the
memory. It does not serve selective filters: a search loses its way through a graph of which most is masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from core.records import BoolArray, Float32Array, Int64Array
from store.quantizer import Quantizer, UInt8Array

_NEIGHBOURS = 32  # per node; twice as many on the ground level
_BUILD_DEPTH = 100  # candidates kept while a node is inserted
_SEARCH_DEPTH = 128  # candidates kept while searching, at least
_new: Any = faiss.IndexHNSWSQ
_bitmap: Any = faiss.IDSelectorBitmap  # typed as the C++ constructor; its Python wrapper takes an array
_parameters: Any = vars(faiss)["SearchParametersHNSW"]  # missing from FAISS's stubs


class Mask:
    """The rows that a search may return. Read-only and thread-safe."""

    def __init__(self, allowed: BoolArray) -> None:
        """`allowed`: (rows,)."""
        self._bits = np.packbits(allowed, bitorder="little")
        self.selector = _bitmap(self._bits)


class Graph:
    """A searchable graph. Read-only and thread-safe."""

    def __init__(self, stored: UInt8Array) -> None:
        """`stored`: the result of `make_graph`."""
        self._index = faiss.deserialize_index(np.array(stored))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    def search(self, direction: Float32Array, count: int, mask: Mask | None) -> tuple[Int64Array, Float32Array]:
        """The best `count` rows, or fewer, and their approximate dot products with `direction` (1, width).

        The products are of the rows' directions. `mask`: the rows to choose from, nearly all of them; None: all.
        """
        depth = max(_SEARCH_DEPTH, count)
        parameters = _parameters(efSearch=depth)
        if mask is not None:
            parameters = _parameters(efSearch=depth, sel=mask.selector)
        scores, rows = self._index.search(direction, min(count, self._index.ntotal), params=parameters)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def make_graph(quantizer: Quantizer, vectors: Iterable[Float32Array]) -> UInt8Array:
    """Build a graph of the directions of the vectors, given block by block; serialised by FAISS."""
    index = _new(quantizer.width, faiss.ScalarQuantizer.QT_8bit, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _BUILD_DEPTH
    for block in vectors:
        rotated = quantizer.rotate(block)
        if not index.is_trained:
            # One range for all dimensions: after the rotation they have similar distributions.
            reach = float(np.abs(rotated).max())
            index.train(np.array([[-reach], [reach]], dtype=np.float32).repeat(quantizer.width, axis=1))
        index.add(rotated)
    stored: UInt8Array = faiss.serialize_index(index)
    return stored
