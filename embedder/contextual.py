"""Contextual controls: spreads the factor of a controlled token to tokens of similar meaning."""

from __future__ import annotations

import numpy as np

from core.records import BoolArray, Float32Array, Float64Array


def spread_factors(
    factors: Float64Array, word_vectors: Float32Array, threshold: float, eligible: BoolArray
) -> Float64Array:
    """The factors (tokens,) after spreading them from controlled tokens to similar tokens; spread ones are at least 0.

    Take a token without a control and a controlled token with factor f. If the cosine s of their static input word
    vectors is at least `threshold`, the first token gets f' = (1 - f) * (1 - s) + f: f for s = 1 and 1 for s = 0,
    also for f above 1. The most similar controlled token decides. An explicit factor always takes precedence over a
    contextual one. `eligible` (tokens,) is False for special tokens and stop words, which neither give nor receive
    factors. `word_vectors`: (tokens, width).
    Source: the contextual control threshold of the Aleph Alpha embedding API.
    """
    controlled = eligible & (factors != 1)
    free = eligible & (factors == 1)
    if not controlled.any() or not free.any():
        return factors
    units = word_vectors / np.maximum(np.linalg.norm(word_vectors, axis=1, keepdims=True), 1e-12)
    cosines = np.clip(units[free] @ units[controlled].T, -1.0, 1.0).astype(np.float64)
    nearest = cosines.argmax(axis=1)
    similarity = cosines[np.arange(len(nearest)), nearest]
    source = factors[controlled][nearest]
    spread = np.where(similarity >= threshold, (1 - source) * (1 - similarity) + source, 1.0)
    result = factors.copy()
    result[free] = np.maximum(spread, 0.0)  # negative cosines, allowed by a negative threshold, could give less than 0
    return result
