"""What the models' vectors are made of, token by token, kept for the next question about the same texts.

A trace depends on the model, the text with its controls, and what it is embedded as: on nothing else, so a key of these
never goes stale. That is why each text is read alone: beside others a model rounds it otherwise, in bf16 by up to a
hundredth, and what was explained would not be the same when it is computed again. The same search again costs no
forward pass, nor do the same passages under another query. An audience has its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from core.current import models_read
from core.prompts import ControlOptions, Prompt
from core.protocols import Encoder, SparseEncoder
from core.records import Int32Array, Representation, SparseTrace, TokenTrace
from retriever.recent import Audience, Recent, digest

MAX_BYTES = 96 * 2**20  # of the kept traces; a passage of 256 tokens in 384 dimensions takes 0.4 MiB
_Trace = TypeVar("_Trace", TokenTrace, SparseTrace)
_PLAIN = ControlOptions()


class Traces:
    """Asks encoders for traces, or remembers them. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes`: for dense and for learned traces together."""
        self._dense: Recent[bytes, TokenTrace] = Recent(max_bytes * 3 // 4, trace_bytes)
        self._sparse: Recent[bytes, SparseTrace] = Recent(max_bytes // 4, _sparse_bytes)

    @property
    def bytes(self) -> int:
        """Memory that the kept traces take."""
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
        """As `encoder.trace`, each prompt by itself."""
        keys = [digest(audience, encoder.fingerprint, prompt, representation, options) for prompt in prompts]

        def make(prompt: Prompt) -> TokenTrace | None:
            made = encoder.trace([prompt], representation, options=options)
            return None if made is None else own_trace(made[0])

        return _remembered(self._dense, keys, prompts, make)

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
        """As `encoder.trace_sparse`, of the same terms in every prompt."""
        known = f"{encoder.fingerprint} {hashlib.sha256(terms.tobytes()).hexdigest()}"
        keys = [digest(audience, known, prompt, representation, options) for prompt in prompts]

        def make(prompt: Prompt) -> SparseTrace | None:
            made = encoder.trace_sparse([prompt], representation, [terms], options=options)
            return None if made is None else replace(made[0], activations=made[0].activations.copy())

        return _remembered(self._sparse, keys, prompts, make)


def own_trace(trace: TokenTrace) -> TokenTrace:
    """Without the rest of the batch, which the encoder's arrays are views of."""
    return replace(trace, vectors=trace.vectors.copy(), weights=trace.weights.copy())


def trace_bytes(trace: TokenTrace) -> int:
    return total_bytes(trace.spans, trace.special, trace.vectors, trace.weights)


def total_bytes(*arrays: np.ndarray) -> int:  # of any type
    return sum(array.nbytes for array in arrays)


def _remembered(
    recent: Recent[bytes, _Trace],
    keys: Sequence[bytes],
    prompts: Sequence[Prompt],
    make: Callable[[Prompt], _Trace | None],
) -> list[_Trace] | None:
    found = recent.get(keys)
    # As if it were read: who pays must not learn from it what others asked for lately.
    models_read(sum(len(trace.spans) for trace in found if trace is not None))
    traces: list[_Trace] = []
    for key, prompt, known in zip(keys, prompts, found, strict=True):
        trace = make(prompt) if known is None else known
        if trace is None:
            return None
        if known is None:
            recent.put(key, trace)
        traces.append(trace)
    return traces


def _sparse_bytes(trace: SparseTrace) -> int:
    return total_bytes(trace.spans, trace.special, trace.activations)
