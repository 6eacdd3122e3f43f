"""Caches the models' results for queries, for the next page, another filter, or the same query again.

A generation keeps its model of each kind for life, so the audience in a key identifies the models, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from core.prompts import ControlOptions, ImageItem, Prompt
from core.records import Float32Array, SparseVector, TokenTrace
from retriever.lrucache import Audience, LruCache, digest
from retriever.tracecache import own_trace, total_bytes, trace_bytes

MAX_BYTES = 16 * 2**20  # about 8,000 queries in 384 dimensions; one explained in words takes 7 times as much
_LARGEST_SHARE = 1 / 16  # of `max_bytes`, for an entry: one long text with its trace must not push out thousands
_BYTES_BESIDE = 512  # for the key and the objects around the arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The models' results for one query; None for a model that was not called."""

    vector: Float32Array | None  # (dimension,)
    learned: SparseVector | None
    trace: TokenTrace | None  # of `vector`
    truncated: bool  # whether a model read only its beginning
    tokens: int  # read, summed over the models


class QueryCache:
    """An LRU cache of `Made`. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._made: LruCache[bytes, Made] = LruCache(max_bytes, _bytes_of)
        self._largest = max_bytes * _LARGEST_SHARE

    @property
    def kept_bytes(self) -> int:
        """Bytes that the entries take."""
        return self._made.bytes

    def key(
        self,
        audience: Audience,
        dense: Prompt | None,
        learned: Prompt | None,
        options: ControlOptions,
        *,
        traced: bool,
    ) -> bytes:
        """The key (32 bytes) of all that the results depend on. `dense`, `learned`: the prompts of each leg's model."""
        return digest(audience, _readable(dense), _readable(learned), options, traced)

    def get(self, key: bytes) -> Made | None:
        return self._made.get([key])[0]

    def put(self, key: bytes, made: Made) -> None:
        if _bytes_of(made) <= self._largest:
            self._made.put(key, _own(made))


def _readable(prompt: Prompt | None) -> object:
    """The prompt for a key, with digests for images: to write out a file would take longer than to encode it."""
    if prompt is None or not any(isinstance(item, ImageItem) for item in prompt.items):
        return prompt
    return [
        replace(item, data=hashlib.sha256(item.data).digest()) if isinstance(item, ImageItem) else item
        for item in prompt.items
    ]


def _own(made: Made) -> Made:
    """A copy of the arrays: the encoder's are views of a whole batch, which would be kept with them."""
    vector, learned, trace = made.vector, made.learned, made.trace
    return replace(
        made,
        vector=None if vector is None else vector.copy(),
        learned=None if learned is None else replace(learned, ids=learned.ids.copy(), weights=learned.weights.copy()),
        trace=None if trace is None else own_trace(trace),
    )


def _bytes_of(made: Made) -> int:
    dense = 0 if made.vector is None else total_bytes(made.vector)
    learned = 0 if made.learned is None else total_bytes(made.learned.ids, made.learned.weights)
    return _BYTES_BESIDE + dense + learned + (0 if made.trace is None else trace_bytes(made.trace))
