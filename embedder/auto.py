"""How factors act under the control target `auto`, and how negative factors act on a mean pool.

In a softmax or a mean, multiplying the weights of some tokens has the same effect as dividing those of all others. The
special tokens are the exception: they carry no text, yet the model has learned to attend to them. Factors above 1 would
take attention from them too, and above about 2 the vectors deteriorate. So attention is moved between the text's own
tokens rather than added:

    a_i = min(f_i / m, 2),    m = the mean of max(f_j, 1) over the text's own tokens

If nothing is emphasised, m is 1; if everything is emphasised alike, every a_i is 1. Special tokens keep 1. The pool
uses f_i itself.

A factor below 0 pushes the embedding away from its tokens. Other tokens do not attend to them (a_i = 0). In the mean,
each such token h_i is replaced, with weight |f_i|, by the negative of its component orthogonal to r, the mean of all
other tokens:

    -(h_i - (h_i . r) r / |r|^2)

This leaves the direction of r unchanged (docs/steering.md has the measurements of both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.records import BoolArray, Float64Array

ATTENTION_LIMIT = 2.0  # largest factor of one token on the attention: above it, emphasis does harm


def moved_attention(factors: Float64Array, special: BoolArray) -> Float64Array:
    """(tokens,) 0 to 2, the attention factors a_i for `factors` (tokens,); `special` marks tokens not of the text."""
    own = factors[~special]
    mean = np.maximum(own, 1.0).mean() if len(own) else 1.0
    moved: Float64Array = np.where(special, 1.0, np.clip(factors / mean, 0.0, ATTENTION_LIMIT))
    return moved


def pushed_away(hidden: Tensor, weights: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Replaces tokens of negative weight as described above; returns the vectors and their weights, all >= 0.

    `hidden`: (tokens, width), the packed texts of `lengths` tokens each. `weights`: (tokens,), below 0 where the text
    is to be pushed away from the token. Without negative weights both are returned unchanged.
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
