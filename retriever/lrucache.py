"""A least-recently-used (LRU) cache bounded in bytes, and the part of its keys that says who shares an entry."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from core.filters import Filter
from core.records import Generation

Audience = tuple[int, Filter | None]  # see `audience`
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


def audience(generation: Generation, within: Filter | None) -> Audience:
    """Who shares a cache entry: the callers that search this generation and may see the same documents of it.

    A cached result arrives sooner, which reveals that somebody asked for it. Nobody outside the audience may learn
    that: see docs/decisions/0025-as-if-there-were-no-others.md.
    """
    return generation.id, within


def digest(*parts: object) -> bytes:
    """A cache key made of the parts: the SHA-256 (32 bytes) of their repr, which keeps none of them."""
    return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).digest()


class LruCache(Generic[_Key, _Value]):
    """Values by key; drops the least recently used ones when it is full. Thread-safe."""

    def __init__(self, max_bytes: int, size: Callable[[_Value], int]) -> None:
        """`size` gives the bytes of a value. A value larger than `max_bytes` is not kept."""
        self._max_bytes = max_bytes
        self._size = size
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0  # taken by the values

    def get(self, keys: Sequence[_Key]) -> list[_Value | None]:
        """The value of each key, None if it is not cached."""
        with self._lock:
            found = [self._values.get(key) for key in keys]
            for key, value in zip(keys, found, strict=True):
                if value is not None:
                    self._values.move_to_end(key)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        size = self._size(value)
        if size > self._max_bytes:
            return
        with self._lock:
            old = self._values.pop(key, None)
            self.bytes += size - (0 if old is None else self._size(old))
            self._values[key] = value
            while self.bytes > self._max_bytes:
                _, gone = self._values.popitem(last=False)
                self.bytes -= self._size(gone)
