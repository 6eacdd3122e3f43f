"""Vector quantization with four bits per two dimensions, by a fixed codebook that needs no training.

After a random rotation any two coordinates of a unit vector have nearly the same distribution, whatever the vectors
represent: a Gaussian with variance 1 / dimension. So one set of 16 points, optimal for the standard Gaussian in the
plane (Lloyd's iteration, mean squared error 0.214 of 2), serves every pair of coordinates in every dimension. Codes
are stored in files, so neither the points nor the construction of the rotation may ever change. The codes of two
machines may still differ where a coordinate falls between two points to the last bit; both are good codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from core.records import Float32Array, Float64Array

UInt8Array = npt.NDArray[np.uint8]

_POINTS = (
    (-0.0003, 0.0007), (-0.8716, -0.1878), (-0.2919, -0.9089), (0.5983, -0.6600), (0.9337, 0.2012), (0.2728, 0.8492),
    (-0.6423, 0.7084), (-1.5612, -1.0190), (-0.6102, -1.9062), (0.6792, -1.7361), (1.6585, -0.8547), (1.9568, 0.4156),
    (1.1667, 1.4554), (-0.0918, 1.8640), (-1.3451, 1.4806), (-1.8470, 0.2701),
)  # fmt: skip
_ERROR = 0.107  # mean squared error of the points, relative to the squared length of what they represent
_DEVIATIONS = 2.25  # standard deviations that a score hardly exceeds its expected value by
_SEED = 20_260_101
_ROUNDS = 4
_BLOCK_ROWS = 4_096
_CACHED_ROWS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantizer:
    """Quantizer of vectors of one dimension. Made by `quantizer`."""

    width: int  # dimensions after the rotation: the dimension rounded up to an even number
    rotation: Float32Array  # (dimension, width) orthonormal rows
    points: Float32Array  # (width / 2, 16, 2) the points that codes stand for
    product: Any  # faiss.ProductQuantizer with those points

    @property
    def code_bytes(self) -> int:
        return int(self.product.code_size)

    def rotate(self, vectors: Float32Array) -> Float32Array:
        """(n, width) the directions of the vectors, rotated; zero for a vector of zeros."""
        lengths = np.sqrt(np.vecdot(vectors, vectors))[:, None]
        lengths[lengths == 0] = 1
        rotated: Float32Array = (vectors / lengths) @ self.rotation
        return rotated

    def reach(self, scores: Float32Array, length: float) -> Float32Array:
        """Dot products with a query of length 1 that vectors of `length` hardly exceed, given the `scores` of their
        directions' codes.

        A point is the mean of what it stands for. So a code misses the share _ERROR of its vector's squared length, in
        a direction that the rotation makes random: the expected product is length * score / (1 - _ERROR), with a
        standard deviation of length * sqrt(_ERROR / (1 - _ERROR) / width). The result is _DEVIATIONS of them above.
        """
        deviation = length * math.sqrt(_ERROR / (1 - _ERROR) / self.width)
        return scores * np.float32(length / (1 - _ERROR)) + np.float32(_DEVIATIONS * deviation)

    def encode(self, vectors: Float32Array) -> UInt8Array:
        """(n, code_bytes) codes of the vectors' directions; the lengths are not encoded."""
        codes = np.empty((len(vectors), self.code_bytes), dtype=np.uint8)
        for begin in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[begin : begin + _BLOCK_ROWS]
            codes[begin : begin + len(block)] = self.product.compute_codes(self.rotate(block))
        return codes


@lru_cache(maxsize=8)
def quantizer(dimension: int) -> Quantizer:
    """The quantizer for a dimension. Takes some 20 ms for 384 dimensions, and seconds for 4,096."""
    width = dimension + dimension % 2
    points = np.tile(np.array(_POINTS) / np.sqrt(width), (width // 2, 1, 1)).astype(np.float32)
    product = faiss.ProductQuantizer(width, width // 2, 4)
    faiss.copy_array_to_vector(points.ravel(), product.centroids)
    rotation = _rotation(width)[:dimension].astype(np.float32)
    return Quantizer(width=width, rotation=rotation, points=points, product=product)


def _rotation(width: int) -> Float64Array:
    """(width, width) orthonormal: sign flips, shuffles, and Hadamard transforms of as many coordinates as possible.

    Unlike the QR decomposition of Gaussian noise it needs no library, and is the same to the last bit everywhere.
    """
    random = np.random.RandomState(_SEED)  # numpy guarantees that its stream never changes
    steps = [(random.randint(0, 2, width) * 2.0 - 1.0, random.permutation(width)) for _ in range(_ROUNDS)]
    size = 1 << (width.bit_length() - 1)
    rotation: Float64Array = np.eye(width)
    for begin in range(0, width, _CACHED_ROWS):
        block = rotation[begin : begin + _CACHED_ROWS]
        for signs, order in steps:
            block[:] = (block * signs)[:, order]
            block[:, :size] = _hadamard(block[:, :size])
    return rotation


def _hadamard(rows: Float64Array) -> Float64Array:
    """Hadamard-transform the rows, whose length is a power of two."""
    count, size = rows.shape
    half = 1
    while half < size:
        pairs = rows.reshape(count, size // (2 * half), 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    transformed: Float64Array = rows.reshape(count, size) / np.sqrt(size)
    return transformed
