"""Pagination cursors: an opaque text that marks where a page of hits ended, and requests the next page.

A cursor belongs to one query over one generation of a collection. While nothing is committed, successive pages are
parts of one list. After a commit, the next page continues behind the last hit that was shown: by the hit itself if it
is still ranked, else by its score and id, as Elasticsearch's search_after does, or by its former place if diversity
orders the hits. Hits that moved across that border meanwhile may appear twice or not at all, and the result says that
the collection has changed.

The content of a cursor is not secret. Its last bytes are a digest of all the others, keyed with the query's own digest,
so that a cursor that was altered, or belongs to another query, is detected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

from core.errors import CursorExpired, InvalidQuery
from core.records import Collection, CollectionSettings, Float64Array, Int64Array
from store.settings import CHANGEABLE

_LAYOUT = struct.Struct(">BQQIdQ8s")  # version, generation, seq, place, score, hit, the query's digest
_VERSION = 1
_TAG_BYTES = 8
# Fields of a query that may change from page to page. The ranking may depend on all other fields.
_FREE = frozenset({"k", "offset", "cursor", "explain", "units", "fields", "timeout_ms", "profile", "extras"})
_SIMPLE = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    generation: int
    seq: int  # the state that the page was read from
    place: int  # of the next hit in the ranking, from 0; at least 1
    score: float  # of the last hit that was shown
    hit: int  # id of the last hit that was shown

    def packed(self, key: bytes) -> str:
        """The cursor as text. `key`: the query_key of the query."""
        body = _LAYOUT.pack(_VERSION, self.generation, self.seq, self.place, self.score, self.hit, key[:8])
        return base64.urlsafe_b64encode(body + _tag(key, body)).decode()

    def start(self, seq: int, ids: Int64Array, scores: Float64Array, *, window: int = 0, by_score: bool = True) -> int:
        """The place of the next hit in the ranking of (hits,) `ids` and `scores` in the state `seq`.

        `window`: number of reranked hits at the top, whose scores have a scale of their own. `by_score`: whether the
        scores descend; if not, the place of a hit that is gone can only be inferred from its former place.
        """
        if seq == self.seq:
            return self.place
        found = np.flatnonzero(ids == self.hit)
        if len(found):
            return int(found[0]) + 1
        if not by_score:
            return min(self.place - 1, len(ids))  # the hits behind it have moved up
        first, last = (0, min(window, len(ids))) if self.place <= window else (window, len(ids))
        scores, ids = scores[first:last], ids[first:last]
        behind = np.flatnonzero((scores < self.score) | ((scores == self.score) & (ids > self.hit)))
        return first + int(behind[0]) if len(behind) else last


def unpacked(text: str, key: bytes, generation: int) -> Cursor:
    """Decode a cursor of this query and generation.

    Raises CursorExpired for a cursor of another generation, InvalidQuery for any other text.
    """
    try:
        data = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    body, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
    if len(body) != _LAYOUT.size or body[0] != _VERSION:
        raise InvalidQuery("invalid cursor: send the `next` value of the page before, unchanged", param="cursor")
    _, found, seq, place, score, hit, digest = _LAYOUT.unpack(body)
    if digest != key[:8]:
        raise InvalidQuery(
            "the cursor belongs to another query, or the collection's settings were changed; from page to page only k, "
            "timeout_ms and what is said about the hits (explain, fields, profile and so on) may change",
            param="cursor",
        )
    if not hmac.compare_digest(tag, _tag(key, body)):
        raise InvalidQuery("the cursor is damaged; send it as it was received", param="cursor")
    if found != generation:
        raise CursorExpired(
            "the cursor is of another generation: the collection was made anew or reindexed meanwhile, or its alias "
            "was moved; begin with the first page again",
            param="cursor",
        )
    return Cursor(generation=found, seq=seq, place=place, score=score, hit=hit)


def query_key(collection: Collection, query: Any) -> bytes:
    """32 bytes, equal for queries with the same ranking within a generation (which is stored in the cursor itself).

    `query`: a dataclass.
    """
    kind: type = type(query)
    said = {name: getattr(query, name) for name in _names(kind) if name not in _FREE}
    for name in ("filter", "within"):
        said[name] = repr(said[name])  # a tree of plain values, perhaps 30,000 of them
    text = json.dumps([_settings(_Same(collection.settings)), _plain(said)], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


class _Same:
    """A cache key that compares the object that it holds by identity."""

    def __init__(self, held: CollectionSettings) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.held is self.held

    def __hash__(self) -> int:
        return id(self.held)


@lru_cache(maxsize=64)
def _names(kind: type) -> tuple[str, ...]:
    """The names of a dataclass's fields."""
    return tuple(item.name for item in fields(kind))


@lru_cache(maxsize=64)
def _settings(same: _Same) -> str:
    """A digest of the settings that may change within a generation.

    It is cached, since there may be thousands of synonyms, which are mostly the same as in the last search.
    """
    changeable = {name: getattr(same.held, name) for name in CHANGEABLE}
    return hashlib.sha256(json.dumps(_plain(changeable), sort_keys=True).encode()).hexdigest()


def _tag(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_TAG_BYTES]


def _plain(value: Any) -> Any:
    """The value as JSON, such that values of different types stay different."""
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is tuple:
        return [_plain(item) for item in value]
    if is_dataclass(kind):
        return [kind.__name__, *[_plain(getattr(value, name)) for name in _names(kind)]]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, Mapping):
        return ["mapping", sorted((str(key), _plain(item)) for key, item in value.items())]
    if isinstance(value, (frozenset, set)):
        return ["set", sorted(json.dumps(_plain(item)) for item in value)]
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
