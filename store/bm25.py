"""BM25 in Lucene's variant, one function per formula.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the idf of Lucene's
BM25Similarity, which is never negative, and without the constant factor (k1 + 1), which does not change the ranking.
"""

from __future__ import annotations

import math

import numpy as np

from core.records import Float32Array, Float64Array


def idf(passages: int, df: int) -> float:
    """ln(1 + (N - df + 0.5) / (df + 0.5)), for a term that occurs in `df` of N `passages`; above 0."""
    return math.log1p((passages - df + 0.5) / (df + 0.5))


def saturation(lengths: Float64Array, average: float, *, k1: float, b: float) -> Float32Array:
    """k1 (1 - b + b dl / avgdl), one per passage: the frequency at which a term reaches half of its weight."""
    if average == 0:  # no passage has a term
        return np.full(len(lengths), k1, dtype=np.float32)
    return (k1 * (1 - b + b * lengths / average)).astype(np.float32)


def weights(frequencies: Float32Array, saturations: Float32Array) -> Float32Array:
    """tf / (tf + saturation): above 0, at most 1."""
    return frequencies / (frequencies + saturations)
