"""Verify a segment's approximate index: its codes, lists and graph against its vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import faiss
import numpy as np

from core.records import Float32Array
from store.arrayfile import Array
from store.quantizer import Quantizer, UInt8Array, quantizer
from store.scan import EVEN

_BLOCK_ROWS = 4_096
_TOLERANCE = 1e-4  # relative to a length: another machine may sum in another order


def code_problems(arrays: Mapping[str, Array], vectors: Float32Array) -> Iterator[str]:
    """`arrays`: the result of `scan_arrays` for the `vectors`; empty where searches read the vectors themselves."""
    if not arrays:
        return
    used, codes, rows = quantizer(vectors.shape[1]), arrays["codes"], len(vectors)
    if codes.shape != (rows, used.code_bytes):
        yield f"has codes of shape {codes.shape}; for its vectors it is {(rows, used.code_bytes)}"
        return
    lengths, wrong = np.empty(rows, np.float32), 0
    for begin in range(0, rows, _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        lengths[block] = np.sqrt(np.vecdot(vectors[block], vectors[block]))
        wrong += _wrong_codes(used, vectors[block], codes[block])
    if wrong:
        yield f"the codes of {wrong:,} vectors are not theirs: searches may miss them"
    length = float(arrays["length"][0])
    off = np.abs(lengths - length)
    must, may = off > (EVEN + _TOLERANCE) * length, off > (EVEN - _TOLERANCE) * length
    uneven = np.zeros(rows, np.bool_)
    uneven[arrays["uneven"]] = True
    if abs(length - float(np.median(lengths))) > _TOLERANCE * length or (must & ~uneven).any() or (uneven & ~may).any():
        yield "does not know which of its vectors are of another length: searches may miss them"
    if "lists" in arrays:
        lists, centroids = arrays["lists"], arrays["centroids"]
        whole = lists.shape == (rows,) and centroids.shape[1:] == (used.width,) and np.isfinite(centroids).all()
        if not whole or lists.max() >= len(centroids):
            yield "its lists do not hold all of its vectors: searches may miss them"
    if "graph" in arrays and faiss.deserialize_index(np.array(arrays["graph"])).ntotal != rows:
        yield "its graph does not hold all of its vectors: searches may miss them"


def _wrong_codes(used: Quantizer, vectors: Float32Array, codes: UInt8Array) -> int:
    """Number of codes that do not name the nearest points. Of two points about equally near, either is right."""
    suspects = np.flatnonzero((used.encode(vectors) != codes).any(axis=1))
    if not len(suspects):
        return 0
    pairs = used.rotate(vectors[suspects]).reshape(len(suspects), -1, 1, 2)
    distances = np.linalg.norm(pairs - used.points, axis=3)  # (suspects, pairs, 16)
    chosen = np.stack([codes[suspects] & 15, codes[suspects] >> 4], axis=2).reshape(len(suspects), -1)
    chosen = chosen[:, : distances.shape[1]].astype(np.int64)
    farther = np.take_along_axis(distances, chosen[:, :, None], axis=2)[:, :, 0] - distances.min(axis=2)
    return int((farther > _TOLERANCE).any(axis=1).sum())
