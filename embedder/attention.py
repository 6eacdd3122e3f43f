"""Attention that listens to factors: one per key token, acting in every layer, head and query row.

Log-additive (default):  S = Q K^T * scaling + log f          a factor of 0 becomes -1e4, never -inf
Multiplicative:          S = (S - min S) * f                  the minimum over the keys that the row can see

after "AtMan: Understanding Transformer Predictions Through Memory Efficient Attention Manipulation" (Deb et al., 2023).

The function is registered in transformers under the name IMPLEMENTATION, together with the mask function of `sdpa`:
without the mask entry, padding and windows would be lost silently. The factors reach it through a context variable, so
that forward passes in other threads are not touched and no model has to hand an argument down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

IMPLEMENTATION = "salience"
SUPPRESSED = -1e4  # log of a factor of 0: exp(-1e4) is 0 in every float type, and no row of the softmax becomes nan


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFactors:
    """One factor per key token, for one batch."""

    values: Tensor  # (batch, key_len) >= 0, float, 1 where nothing is steered
    log_additive: bool

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"factors have shape {tuple(self.values.shape)}, expected (batch, key_len)")


_factors: ContextVar[KeyFactors | None] = ContextVar("salience_key_factors", default=None)


@contextmanager
def steered(factors: KeyFactors | None) -> Iterator[None]:
    """Within the block, forward passes of this thread attend by `factors` (None: as the model was trained)."""
    token = _factors.set(factors)
    try:
        yield
    finally:
        _factors.reset(token)


def log_factors(values: Tensor) -> Tensor:
    """log of the factors, SUPPRESSED where that would be lower. Same shape and dtype."""
    return torch.log(values).clamp_min(SUPPRESSED)


def _steerable_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query, key, value: (batch, heads, query_len | key_len, head_dim). Returns (batch, query_len, heads, head_dim)."""
    factors = _factors.get()
    if factors is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    values = factors.values.to(query.dtype)[:, None, None, :]  # (batch, 1, 1, key_len)
    if factors.log_additive:
        bias = log_factors(values)
        learned = kwargs.pop("position_bias", None)  # T5 and its kin bring a bias of their own
        bias = bias if learned is None else bias + learned
        return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=bias, **kwargs)
    return _multiplicative(module, query, key, value, attention_mask, values, **kwargs)


def _multiplicative(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    factors: Tensor,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    visible = _visible(scores, attention_mask, getattr(module, "is_causal", True) if is_causal is None else is_causal)
    lowest = scores.masked_fill(~visible, torch.inf).amin(dim=-1, keepdim=True)
    lowest = lowest.masked_fill(lowest.isinf(), 0.0)  # a row of padding sees nothing
    scores = ((scores - lowest) * factors).masked_fill(~visible, torch.finfo(scores.dtype).min)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).contiguous(), None


def _visible(scores: Tensor, attention_mask: Tensor | None, is_causal: bool) -> Tensor:
    """(batch or 1, 1, query_len, key_len) bool: which keys a row attends to."""
    if attention_mask is None:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        return (visible.tril() if is_causal and scores.shape[-2] > 1 else visible)[None, None]
    if attention_mask.dtype == torch.bool:
        return attention_mask
    return attention_mask > torch.finfo(attention_mask.dtype).min / 2


AttentionInterface.register(IMPLEMENTATION, _steerable_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
