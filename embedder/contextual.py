"""Contextual controls: tokens that mean nearly the same as a controlled one are steered along."""

from __future__ import annotations

import numpy as np

from core.records import BoolArray, Float32Array, Float64Array


def spread_factors(
    factors: Float64Array, word_vectors: Float32Array, threshold: float, eligible: BoolArray
) -> Float64Array:
    """The factors (tokens,), spread from the controlled tokens to those that resemble them.

    For a token that no control touches and a controlled one with factor f, whose static input word vectors have the
    cosine s >= `threshold`:  f' = (1 - f) * (1 - s) + f.  So s = 1 gives f and s = 0 gives 1; it holds above 1 too.
    The most similar controlled token decides. An explicit factor always beats a contextual one. `eligible` (tokens,)
    leaves special tokens and stop words out, on both sides. `word_vectors`: (tokens, width).
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
    result[free] = np.maximum(spread, 0.0)  # a negative cosine under a negative threshold could ask for less than none
    return result
