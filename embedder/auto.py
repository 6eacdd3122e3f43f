"""What a factor does under the target `auto`, and what a negative one does to a mean.

Multiplying the say of some tokens and dividing that of all others is the same thing to a softmax and to a mean, but for
the special tokens: they say nothing of the text, yet the model has learned to look at them. A factor above 1 that adds
to the attention takes from them too, and above about 2 the vectors fall apart. So the attention is moved, not added:

    a_i = min(f_i / m, 2),    m = the mean of max(f_j, 1) over the text's own tokens

Where nothing is emphasised m is 1, where everything is a_i is 1. Special tokens keep 1. The pool takes f_i itself.

A factor below 0 pushes the vector away. To the others its tokens are not there (a_i = 0), and in the mean stands, with
the weight |f_i|, the opposite of what their own vector adds to that of the rest: with r the mean of all other tokens,

    -(h_i - (h_i . r) r / |r|^2)

so that the rest's own direction stays as it is (docs/steering.md has the measurements of both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.records import BoolArray, Float64Array

ATTENTION_LIMIT = 2.0  # of one token: above it, attention backfires


def moved_attention(factors: Float64Array, special: BoolArray) -> Float64Array:
    """(tokens,) >= 0, what the `factors` (tokens,) are on the attention; `special`: which tokens are not the text's."""
    own = factors[~special]
    mean = np.maximum(own, 1.0).mean() if len(own) else 1.0
    moved: Float64Array = np.where(special, 1.0, np.clip(factors / mean, 0.0, ATTENTION_LIMIT))
    return moved


def pushed_away(hidden: Tensor, weights: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The token vectors and their weights (all >= 0) whose mean is that of `hidden` under `weights`, as said above.

    `hidden`: (tokens, width) of texts of `lengths` tokens. `weights`: (tokens,), below 0 where a text is to be pushed
    away from the token. Where none is, both come back as they are.
    """
    away = weights < 0
    if not bool(away.any()):
        return hidden, weights
    texts = []
    parts = (torch.split(part, list(lengths)) for part in (hidden, weights, away))
    for vectors, shares, negative in zip(*parts, strict=True):
        rest = shares.clamp_min(0) @ vectors
        unit = rest / rest.norm().clamp_min(1e-12)
        added = vectors - (vectors @ unit)[:, None] * unit
        texts.append(torch.where(negative[:, None], -added, vectors))
    return torch.cat(texts), weights.abs()
