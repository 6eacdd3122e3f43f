"""Fuzzy look-up of a collection's terms: those within an edit distance of a word, or those that contain a character.

A term is kept with its length and two signatures of 64 bits, of its characters and of its pairs of neighbours. One edit
(inserting, deleting or replacing a character, or swapping two neighbours) changes only so many bits, so terms whose
signatures differ in more are ruled out without reading them. The exact distance is computed for the rest.
Terms are only ever added, so that what is cached stays valid: only newer terms are read.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from rapidfuzz.distance import OSA
from rapidfuzz.process import cdist

from core.records import Int32Array, Int64Array
from store import schema
from store.prepared import Prepared
from store.view import View

LONGEST = 40  # characters of a term that can be found
_KEPT = 4  # collections whose terms are cached
_CHUNK = 50_000
_HEAD = 3  # characters that a word and its stem share: mistakes are rarely so early, and the search is short
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hashing, Knuth, TAOCP 3, section 6.4
_Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Terms:
    """The terms of one collection."""

    read_to: int = 0  # the highest term.id of all collections when these were read
    text: bytes = b""  # all terms concatenated, in UTF-8
    ends: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))  # (terms,) end of each term in `text`
    lengths: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))  # (terms,) characters
    characters: _Bits = field(default_factory=lambda: np.empty(0, np.uint64))  # (terms,)
    pairs: _Bits = field(default_factory=lambda: np.empty(0, np.uint64))  # (terms,)

    def near(self, word: str, edits: int) -> dict[str, int]:
        matrix, lengths = _matrix([word])
        ((characters,), (pairs,)) = _signatures(matrix, lengths)
        close = np.flatnonzero(np.bitwise_count(self.characters ^ characters) <= 2 * edits)  # cheap, drops nearly all
        close = close[_differing(self.characters[close], characters) <= edits]
        close = close[np.abs(self.lengths[close] - len(word)) <= edits]
        close = close[_differing(self.pairs[close], pairs) <= 3 * edits]
        texts = self._texts(close)
        apart = distances(word, texts).tolist()
        return {text: distance for text, distance in zip(texts, apart, strict=True) if distance <= edits}

    def beginnings(self, word: str, edits: int) -> dict[str, int]:
        matrix, lengths = _matrix([word])
        ((characters,), (pairs,)) = _signatures(matrix, lengths)
        close = np.flatnonzero(np.bitwise_count(self.characters & ~characters) <= edits)
        close = close[(self.lengths[close] >= _least(word)) & (self.lengths[close] <= len(word) + edits)]
        close = close[np.bitwise_count(self.pairs[close] & ~pairs) <= 3 * edits]
        head = np.frombuffer(word[:_HEAD].encode(), dtype=np.uint8)
        starts = np.where(close > 0, self.ends[close - 1], 0)
        begun = np.frombuffer(self.text, dtype=np.uint8).take(starts[:, None] + np.arange(len(head)), mode="clip")
        texts = self._texts(close[(begun == head).all(axis=1)])
        parts = [word[:end] for end in range(max(1, _least(word) - edits), len(word) + 1)]
        apart = cdist(parts, texts, scorer=OSA.distance, score_cutoff=edits, dtype=np.int64).min(axis=0).tolist()
        return {text: distance for text, distance in zip(texts, apart, strict=True) if distance <= edits}

    def containing(self, part: str) -> list[str]:
        places = [match.start() for match in re.finditer(re.escape(part.encode()), self.text)]
        held = np.unique(np.searchsorted(self.ends, places, side="right"))
        return self._texts(held)

    def _texts(self, places: Int64Array) -> list[str]:
        starts = np.where(places > 0, self.ends[places - 1], 0)
        spans = zip(starts.tolist(), self.ends[places].tolist(), strict=True)
        return [self.text[start:end].decode() for start, end in spans]


class Vocabularies:
    """Caches the terms of the collections that were asked for last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[int, _Slot] = OrderedDict()

    def near(self, view: View, word: str, edits: int) -> dict[str, int]:
        """The collection's terms within `edits` (1 or 2) of `word`, with their distances from it.

        May include terms that no passage contains any more.
        """
        if not 0 < len(word) <= LONGEST:
            return {}
        terms = self._terms(view)
        return terms.near(word, edits) if len(terms.ends) else {}

    def beginnings(self, view: View, word: str, edits: int) -> dict[str, int]:
        """The collection's terms within `edits` (0 or 1) of a prefix of `word`, with their distances, like `near`.

        Terms that are shorter than three characters, or than half the word less one character, are left out: few of
        them are of use as its stem.
        """
        if not _HEAD <= len(word) <= LONGEST:
            return {}
        terms = self._terms(view)
        return terms.beginnings(word, edits) if len(terms.ends) else {}

    def containing(self, view: View, character: str) -> list[str]:
        """The collection's terms that contain `character`, in any order; may include terms that no passage contains."""
        return self._terms(view).containing(character)

    def _terms(self, view: View) -> _Terms:
        with self._lock:
            slot = self._known.setdefault(view.collection.id, _Slot())
            self._known.move_to_end(view.collection.id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        with slot.lock:
            slot.terms = terms = _read(view, slot.terms)
        return terms


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    terms: _Terms = field(default_factory=_Terms)


def distances(word: str, others: Sequence[str]) -> Int64Array:
    """(others,) the fewest edits between `word` and each: insert, delete, replace one character, or swap neighbours.

    The optimal string alignment distance: no part is edited twice. Source: Boytsov, "Indexing methods for approximate
    dictionary searching", ACM JEA 16, 2011, section 2.2.
    """
    found: Int64Array = cdist([word], others, scorer=OSA.distance, dtype=np.int64)[0]
    return found


def _least(word: str) -> int:
    """Minimum number of characters of a term that can match a prefix of the word."""
    return max(_HEAD, len(word) // 2 - 1)


def _read(view: View, known: _Terms) -> _Terms:
    """`known`, extended by the terms added since.

    Ids grow with every commit, as transactions write one at a time and ids are never reused: a term that is committed
    later has an id above the highest of all collections.
    """
    [(newest,)] = _NEWEST.rows(view.session)
    if newest is None or newest <= known.read_to:
        return known
    parts = [(known.text, known.ends, known.lengths, known.characters, known.pairs)]
    size = len(known.text)
    for texts in _texts(view, known, newest):
        encoded = [text.encode() for text in texts]
        ends = size + np.cumsum([len(one) for one in encoded], dtype=np.int64)
        matrix, lengths = _matrix(texts)
        parts.append((b"".join(encoded), ends, lengths, *_signatures(matrix, lengths)))
        size = int(ends[-1])
    if len(parts) == 1:
        return replace(known, read_to=newest)
    text, ends_, lengths_, characters, pairs = zip(*parts, strict=True)
    return _Terms(
        read_to=newest,
        text=b"".join(text),
        ends=np.concatenate(ends_),
        lengths=np.concatenate(lengths_),
        characters=np.concatenate(characters),
        pairs=np.concatenate(pairs),
    )


def _texts(view: View, known: _Terms, newest: int) -> Iterator[list[str]]:
    """The collection's terms that are not in `known` and short enough to be found, in any order.

    Reads either the newer terms of all collections or all terms of this one, whichever are fewer. So the time is
    bounded by the collection's own terms, however many other collections add.
    """
    id_, text, collection = schema.term.c.id, schema.term.c.text, schema.term.c.collection_id
    if newest - known.read_to <= len(known.ends):  # "+ 0" keeps SQLite from using an index on that column
        where = (id_ > known.read_to, collection + 0 == view.collection.id)
    else:
        where = (id_ + 0 > known.read_to, collection == view.collection.id)
    rows: Any = view.session.execute(sa.select(text).where(*where)).cursor  # the driver's own: plain tuples
    while chunk := rows.fetchmany(_CHUNK):
        if texts := [text for (text,) in chunk if len(text) <= LONGEST]:
            yield texts


_NEWEST = Prepared(sa.select(sa.func.max(schema.term.c.id)))


def _matrix(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Int32Array]:
    """(texts, longest) code points, padded with 0, and (texts,) lengths."""
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    width = max(1, int(lengths.max()))
    matrix = np.zeros((len(texts), width), dtype=np.uint32)
    joined = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4")
    matrix[np.arange(width) < lengths[:, None]] = joined
    return matrix, lengths


def _signatures(matrix: npt.NDArray[np.uint32], lengths: Int32Array) -> tuple[_Bits, _Bits]:
    """(texts,) signature of the characters, and (texts,) signature of the pairs of neighbours."""
    present = np.arange(matrix.shape[1]) < lengths[:, None]
    codes = matrix.astype(np.uint64)
    characters = np.bitwise_or.reduce(np.where(present, _bit(codes), np.uint64(0)), axis=1)
    neighbours = codes[:, :-1] << np.uint64(32) | codes[:, 1:]
    pairs = np.bitwise_or.reduce(np.where(present[:, 1:], _bit(neighbours), np.uint64(0)), axis=1)
    return characters, pairs


def _bit(codes: _Bits) -> _Bits:
    found: _Bits = np.uint64(1) << ((codes * _SPREAD) >> np.uint64(58))
    return found


def _differing(signatures: _Bits, one: np.uint64) -> npt.NDArray[np.uint8]:
    """(signatures,) number of bits that only one side has, of the side that has more of them."""
    found: npt.NDArray[np.uint8] = np.maximum(np.bitwise_count(signatures & ~one), np.bitwise_count(one & ~signatures))
    return found
