"""A cache of what the models made of queries: for the next page, another filter, or whoever asks the same.

A generation has one model of each kind as long as it lives, so an audience stands for the models, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from core.prompts import ControlOptions, ImageItem, Prompt
from core.records import Float32Array, SparseVector, TokenTrace
from retriever.lrucache import Audience, LruCache, digest
from retriever.tracecache import own_trace, total_bytes, trace_bytes

MAX_BYTES = 16 * 2**20  # some 8,000 queries in 384 dimensions; one that was explained in words takes 7 times as much
_LARGEST_SHARE = 1 / 16  # of the room: one long text with its trace must not push out thousands of queries
_BYTES_BESIDE = 512  # of a key and of the objects around the arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What the models made of one query; None where they were not asked."""

    vector: Float32Array | None  # (dimension,)
    learned: SparseVector | None
    trace: TokenTrace | None  # what `vector` was made of
    truncated: bool  # whether a model read only its beginning
    tokens: int  # that the models read, each of them


class QueryCache:
    """The least recently used ones go first. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._made: LruCache[bytes, Made] = LruCache(max_bytes, _bytes_of)
        self._largest = max_bytes * _LARGEST_SHARE

    @property
    def kept_bytes(self) -> int:
        """Memory that they take."""
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
        """(32 bytes) Of all that the models go by. `dense`, `learned`: what each leg's model is to read."""
        return digest(audience, _readable(dense), _readable(learned), options, traced)

    def get(self, key: bytes) -> Made | None:
        return self._made.get([key])[0]

    def put(self, key: bytes, made: Made) -> None:
        if _bytes_of(made) <= self._largest:
            self._made.put(key, _own(made))


def _readable(prompt: Prompt | None) -> object:
    """What it is told by, an image by the digest of its file: written out it would take longer than its encoding."""
    if prompt is None or not any(isinstance(item, ImageItem) for item in prompt.items):
        return prompt
    return [
        replace(item, data=hashlib.sha256(item.data).digest()) if isinstance(item, ImageItem) else item
        for item in prompt.items
    ]


def _own(made: Made) -> Made:
    """Without the rest of the batch, which the encoder's arrays are views of."""
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
