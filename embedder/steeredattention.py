"""Scaled dot-product attention steered by factors, one per key token, which act on every query row alike.

Log-additive (default):  S = Q K^T * scaling + log f          a factor of 0 becomes -1e4, never -inf
Multiplicative:          S = (S - min S) * f                  the minimum over the keys that the row can see

after "AtMan: Understanding Transformer Predictions Through Memory Efficient Attention Manipulation" (Deb et al., 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SUPPRESSED = -1e4  # log of a factor of 0: exp(-1e4) is 0 in every float type, and no row of the softmax becomes nan


def attend(query: Tensor, key: Tensor, value: Tensor, factors: Tensor | None, *, log_additive: bool) -> Tensor:
    """The attention's output, (batch, heads, length, head_dim), for inputs of that shape. Every key is visible.

    `factors`: (batch, length); None: not steered.
    """
    if factors is None:
        return scaled_dot_product_attention(query, key, value)
    factors = factors[:, None, None, :].to(query.dtype)
    if log_additive:
        return scaled_dot_product_attention(query, key, value, attn_mask=log_factors(factors))
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    return scale_scores(scores, factors, None).softmax(dim=-1) @ value


def log_factors(factors: Tensor) -> Tensor:
    """The logarithm of the factors, at least SUPPRESSED. Same shape and dtype."""
    return torch.log(factors).clamp_min(SUPPRESSED)


def scale_scores(scores: Tensor, factors: Tensor, visible: Tensor | None) -> Tensor:
    """(S - min S) * f for scores (batch, heads, query_len, key_len), factors (batch, 1, 1, key_len).

    `visible` (bool; None: all) marks the keys that a row can see. The others are left out of the minimum and get no
    weight.
    """
    if visible is None:
        return (scores - scores.amin(dim=-1, keepdim=True)) * factors
    lowest = scores.masked_fill(~visible, torch.inf).amin(dim=-1, keepdim=True)
    lowest = lowest.masked_fill(lowest.isinf(), 0.0)  # a row of padding sees nothing
    return ((scores - lowest) * factors).masked_fill(~visible, torch.finfo(scores.dtype).min)
