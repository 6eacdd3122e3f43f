"""Chooses the next token from logits: greedily, or by sampling with temperature, top-k and top-p, in this order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.records import Float64Array, Int64Array
from embedder.causal.request import Completion


def choices(logits: Float64Array, request: Completion, random: np.random.Generator) -> Iterator[int]:
    """Yields candidate token ids until the caller accepts one; each is chosen as if those before it did not exist.

    `logits`: (vocabulary,), -inf for tokens that are not allowed; changed in place.
    """
    order = None if request.greedy else np.argsort(-logits, kind="stable")  # sorted once: slower than all the rest
    while np.isfinite(logits).any():
        id = _choice(logits, request, random, order)
        yield id
        logits[id] = -np.inf
        order = None if order is None else order[order != id]


def _choice(logits: Float64Array, request: Completion, random: np.random.Generator, order: Int64Array | None) -> int:
    if request.greedy:
        return int(logits.argmax())
    probabilities = distribution(
        logits, temperature=request.temperature, top_k=request.top_k, top_p=request.top_p, order=order
    )
    edges = probabilities.cumsum()
    return int(np.searchsorted(edges, random.random() * edges[-1], side="right"))


def distribution(
    logits: Float64Array, *, temperature: float, top_k: int, top_p: float, order: Int64Array | None = None
) -> Float64Array:
    """(vocabulary,) the probabilities to sample by; they sum to 1.

    temperature t: softmax(logits / t); 0 acts as 1. top_k: only the k likeliest tokens are kept. top_p: of these,
    rescaled, the smallest set is kept whose probabilities together exceed p (Holtzman et al., "The curious case of
    neural text degeneration", 2020). 0 switches top_k or top_p off. Among equal logits the lower token id is kept.
    `order`: the tokens with a finite logit, likeliest first, possibly followed by others; None: computed here.
    """
    distances = logits - logits.max()  # at most 0, so that dividing by a very low temperature gives no nan
    with np.errstate(over="ignore"):
        scaled = distances / temperature if temperature > 0 else distances
    weights: Float64Array = np.exp(scaled)
    if order is None:
        order = np.argsort(-logits, kind="stable")
    if top_k:
        weights[order[top_k:]] = 0.0
    weights /= weights.sum()
    if top_p:
        before = np.concatenate(([0.0], weights[order].cumsum()[:-1]))
        weights[order[before > top_p]] = 0.0
        weights /= weights.sum()
    return weights
