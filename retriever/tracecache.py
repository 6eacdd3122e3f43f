"""Caches token traces (what the models' vectors consist of, token by token) for later questions about the same texts.

A trace depends only on the model, the text with its controls, and what it is embedded as, so a key of these never goes
stale. Repeating a search costs no forward pass, nor do the same passages for another query. Each audience has its own
entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from core.context import models_read
from core.prompts import ControlOptions, Prompt
from core.protocols import Encoder, SparseEncoder
from core.records import Int32Array, Representation, SparseTrace, TokenTrace
from retriever.lrucache import Audience, LruCache, digest

MAX_BYTES = 96 * 2**20  # a passage of 256 tokens in 384 dimensions takes 0.4 MiB
_Trace = TypeVar("_Trace", TokenTrace, SparseTrace)
_PLAIN = ControlOptions()


class TraceCache:
    """An LRU cache in front of the encoders' traces. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes`: three quarters are for dense traces, one quarter for learned ones."""
        self._dense: LruCache[bytes, TokenTrace] = LruCache(max_bytes * 3 // 4, trace_bytes)
        self._sparse: LruCache[bytes, SparseTrace] = LruCache(max_bytes // 4, _sparse_bytes)

    @property
    def bytes(self) -> int:
        """Bytes that the traces take."""
        return self._dense.bytes + self._sparse.bytes

    def dense(
        self,
        encoder: Encoder,
        prompts: Sequence[Prompt],
        representation: Representation,
        audience: Audience,
        *,
        options: ControlOptions = _PLAIN,
    ) -> list[TokenTrace] | None:
        """The result of `encoder.trace`; traces that are not cached are computed in one call."""
        keys = [digest(audience, encoder.fingerprint, prompt, representation, options) for prompt in prompts]

        def make(places: Sequence[int]) -> list[TokenTrace] | None:
            made = encoder.trace([prompts[place] for place in places], representation, options=options)
            return None if made is None else [own_trace(trace) for trace in made]

        return _remembered(self._dense, keys, make)

    def sparse(
        self,
        encoder: SparseEncoder,
        prompts: Sequence[Prompt],
        representation: Representation,
        terms: Int32Array,
        audience: Audience,
        *,
        options: ControlOptions = _PLAIN,
    ) -> list[SparseTrace] | None:
        """The result of `encoder.trace_sparse`, with the same `terms` for every prompt."""
        known = f"{encoder.fingerprint} {hashlib.sha256(terms.tobytes()).hexdigest()}"
        keys = [digest(audience, known, prompt, representation, options) for prompt in prompts]

        def make(places: Sequence[int]) -> list[SparseTrace] | None:
            asked = [prompts[place] for place in places]
            made = encoder.trace_sparse(asked, representation, [terms] * len(asked), options=options)
            return None if made is None else [replace(one, activations=one.activations.copy()) for one in made]

        return _remembered(self._sparse, keys, make)


def own_trace(trace: TokenTrace) -> TokenTrace:
    """A copy of the arrays: the encoder's are views of a whole batch, which would be kept with them."""
    return replace(trace, vectors=trace.vectors.copy(), weights=trace.weights.copy())


def trace_bytes(trace: TokenTrace) -> int:
    return total_bytes(trace.spans, trace.special, trace.vectors, trace.weights)


def total_bytes(*arrays: np.ndarray) -> int:  # of any type
    return sum(array.nbytes for array in arrays)


def _remembered(
    recent: LruCache[bytes, _Trace], keys: Sequence[bytes], make: Callable[[Sequence[int]], list[_Trace] | None]
) -> list[_Trace] | None:
    found = recent.get(keys)
    # Counted as if read: the usage must not reveal to a caller what others asked for.
    models_read(sum(len(trace.spans) for trace in found if trace is not None))
    missing = [place for place, trace in enumerate(found) if trace is None]
    if missing:
        made = make(missing)
        if made is None:
            return None
        for place, trace in zip(missing, made, strict=True):
            found[place] = trace
            recent.put(keys[place], trace)
    return [trace for trace in found if trace is not None]


def _sparse_bytes(trace: SparseTrace) -> int:
    return total_bytes(trace.spans, trace.special, trace.activations)
