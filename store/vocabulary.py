"""The terms of collections by likeness: which ones a mistyped word could have been meant for.

A term is kept as two signatures of 64 bits, of its characters and of its pairs of neighbours, and its length: 21 bytes.
One edit (a character left out, put in, or exchanged, or two neighbours that changed places) can set and clear only so
many bits; what differs in more is ruled out without being looked at. What is left is compared by the exact distance.
Terms are only ever added, so that what is known stays true: only newer ones are read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from core.records import Int32Array, Int64Array
from store import schema
from store.contents import term_texts
from store.view import View

LONGEST = 40  # characters of a term that can be found
MOST_EDITS = 2
_KEPT = 4  # collections
_CHUNK = 50_000
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hashing, Knuth, TAOCP 3, section 6.4
_Bits = npt.NDArray[np.uint64]


@dataclass(slots=True)
class _Known:
    """Of one collection. Replaced under the lock, never changed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ids: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    lengths: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    characters: _Bits = field(default_factory=lambda: np.empty(0, np.uint64))
    pairs: _Bits = field(default_factory=lambda: np.empty(0, np.uint64))
    read_to: int = 0  # the highest id that was read


class Vocabularies:
    """Thread-safe; remembers those of the collections that were asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def near(self, view: View, word: str, edits: int) -> dict[str, int]:
        """The collection's terms that are at most `edits` (1 or 2) away from `word`, and their distances from it.

        Terms that no passage holds any longer may be among them.
        """
        known = self._read(view)
        if not 0 < len(word) <= LONGEST or not len(known.ids):
            return {}
        matrix, lengths = _matrix([word])
        ((characters,), (pairs,)) = _signatures(matrix, lengths)
        close = np.abs(known.lengths - len(word)) <= edits
        close &= _differing(known.characters, characters) <= edits
        close &= _differing(known.pairs, pairs) <= 3 * edits
        texts = list(term_texts(view.session, known.ids[close].tolist()).values())
        apart = distances(word, texts)
        return {text: int(distance) for text, distance in zip(texts, apart, strict=True) if distance <= edits}

    def _read(self, view: View) -> _Known:
        with self._lock:
            known = self._known.setdefault(view.collection.id, _Known())
            self._known.move_to_end(view.collection.id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        with known.lock:
            term = schema.term.c
            while True:
                rows = view.session.execute(
                    sa.select(term.id, term.text)
                    .where(term.collection_id == view.collection.id, term.id > known.read_to)
                    .order_by(term.id)
                    .limit(_CHUNK)
                ).all()
                if not rows:
                    return _Known(known.lock, known.ids, known.lengths, known.characters, known.pairs, known.read_to)
                _add(known, [(row.id, row.text) for row in rows])


def distances(word: str, others: Sequence[str]) -> Int64Array:
    """(others,) the fewest edits between `word` and each: insert, delete, exchange one character, or swap neighbours.

    The optimal string alignment distance: no part is edited twice. Source: Boytsov, "Indexing methods for approximate
    dictionary searching", ACM JEA 16, 2011, section 2.2. By columns, for all others at once.
    """
    if not others:
        return np.empty(0, dtype=np.int64)
    matrix, lengths = _matrix(others)
    codes = [ord(character) for character in word]
    width = matrix.shape[1]
    columns = np.arange(width + 1, dtype=np.int64)
    before = np.empty(0)
    previous = np.broadcast_to(columns, (len(others), width + 1)).copy()
    for i, code in enumerate(codes, start=1):
        row = np.empty_like(previous)
        row[:, 0] = i
        for j in range(1, width + 1):
            same = matrix[:, j - 1] == code
            row[:, j] = np.minimum(np.minimum(row[:, j - 1], previous[:, j]) + 1, previous[:, j - 1] + ~same)
            if i > 1 and j > 1:
                swapped = (matrix[:, j - 2] == code) & (matrix[:, j - 1] == codes[i - 2])
                row[swapped, j] = np.minimum(row[swapped, j], before[swapped, j - 2] + 1)
        before, previous = previous, row
    found: Int64Array = previous[np.arange(len(others)), lengths]
    return found


def _add(known: _Known, rows: Sequence[tuple[int, str]]) -> None:
    kept = [(id_, text) for id_, text in rows if len(text) <= LONGEST]
    if kept:
        matrix, lengths = _matrix([text for _, text in kept])
        characters, pairs = _signatures(matrix, lengths)
        known.ids = np.append(known.ids, np.array([id_ for id_, _ in kept], dtype=np.int32))
        known.lengths = np.append(known.lengths, lengths)
        known.characters = np.append(known.characters, characters)
        known.pairs = np.append(known.pairs, pairs)
    known.read_to = rows[-1][0]


def _matrix(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Int32Array]:
    """(texts, longest) code points, 0 behind the end, and (texts,) lengths."""
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    width = max(1, int(lengths.max()))
    matrix = np.zeros((len(texts), width), dtype=np.uint32)
    joined = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4")
    matrix[np.arange(width) < lengths[:, None]] = joined
    return matrix, lengths


def _signatures(matrix: npt.NDArray[np.uint32], lengths: Int32Array) -> tuple[_Bits, _Bits]:
    """(texts,) a bit for each character, and one for each pair of neighbours."""
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
    """(signatures,) the larger count of bits that only one side has."""
    found: npt.NDArray[np.uint8] = np.maximum(np.bitwise_count(signatures & ~one), np.bitwise_count(one & ~signatures))
    return found
