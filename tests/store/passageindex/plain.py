"""A passage index that is slow and obvious: every question is answered from all passages, by exact sums."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import IndexMissing, IndexUnavailable
from core.records import Float32Array, Int32Array, Int64Array
from store.passageindex.protocol import MOST, Entries, SparseRows, Weights

_BLOCK = 100  # passages that `entries` gives at once
_TABLES = """
    CREATE TABLE IF NOT EXISTS held (name TEXT PRIMARY KEY, dimension INTEGER NOT NULL, learned INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS passage (
        name TEXT NOT NULL REFERENCES held (name) ON DELETE CASCADE,
        id INTEGER NOT NULL,
        vector BLOB NOT NULL,
        bm25_ids BLOB NOT NULL,
        bm25_weights BLOB NOT NULL,
        learned_ids BLOB,
        learned_weights BLOB,
        PRIMARY KEY (name, id)
    );
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """One passage."""

    id: int
    vector: Float32Array
    bm25: dict[int, float]  # weights by term id
    learned: dict[int, float] | None


class PlainIndex:
    """A PassageIndex that also refuses what its contract does not allow. Thread-safe; with a file, between processes.

    `down`: whether it answers nothing but IndexUnavailable. `calls`: the names of the methods that were called, and of
    what.
    """

    def __init__(self, file: Path | None = None) -> None:
        """`file`: where it keeps what it holds, whole after every call, whoever is killed; None: in memory."""
        self.down = False
        self.calls: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(file or ":memory:", check_same_thread=False, timeout=60)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_TABLES)

    def check(self) -> str:
        with self._asked("check", ""):
            return "plain 1"

    def create(self, name: str, dimension: int, *, learned: bool) -> None:
        with self._asked("create", name):
            found = self._connection.execute("SELECT dimension, learned FROM held WHERE name = ?", [name]).fetchone()
            assert found in (None, (dimension, learned)), "made for other passages"
            if found is None:
                self._connection.execute("INSERT INTO held VALUES (?, ?, ?)", [name, dimension, learned])

    def count(self, name: str) -> int:
        with self._asked("count", name):
            self._known(name)
            return sum(1 for _ in self._rows(name))

    def drop(self, name: str) -> None:
        with self._asked("drop", name):
            self._connection.execute("DELETE FROM held WHERE name = ?", [name])

    def put(self, name: str, entries: Entries) -> None:
        with self._asked("put", name):
            dimension, learned = self._known(name)
            assert entries.vectors.shape == (len(entries.ids), dimension)
            assert entries.vectors.dtype == np.float32
            assert len(np.unique(entries.ids)) == len(entries.ids)
            assert (entries.learned is not None) == learned
            sparse = [_checked(rows, len(entries.ids)) for rows in (entries.bm25, entries.learned)]
            for row, id_ in enumerate(entries.ids.tolist()):
                parts = [part for rows in sparse for part in _bytes(rows, row)]
                values = [name, id_, entries.vectors[row].tobytes(), *parts]
                self._connection.execute("INSERT OR REPLACE INTO passage VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def remove(self, name: str, ids: Int64Array) -> None:
        with self._asked("remove", name):
            self._known(name)
            rows = [(name, id_) for id_ in ids.tolist()]
            self._connection.executemany("DELETE FROM passage WHERE name = ? AND id = ?", rows)

    def nearest(self, name: str, vector: Float32Array, limit: int, among: Int64Array | None = None) -> Int64Array:
        with self._asked("nearest", name):
            dimension, _ = self._known(name)
            assert vector.shape == (dimension,)
            assert 1 <= limit <= MOST
            asked = vector.astype(np.float64)
            return _best({row.id: float(row.vector @ asked) for row in self._rows(name, among)}, limit)

    def matching(
        self,
        name: str,
        weights: Weights,
        ids: Int32Array,
        factors: Float32Array,
        limit: int,
        among: Int64Array | None = None,
    ) -> Int64Array:
        with self._asked("matching", name):
            self._known(name)
            assert len(ids) == len(factors) > 0
            assert (factors > 0).all()
            assert 1 <= limit <= MOST
            asked = dict(zip(ids.tolist(), factors.tolist(), strict=True))
            scores = {}
            for row in self._rows(name, among):
                own = _weights(row, weights)
                if shared := asked.keys() & own.keys():
                    scores[row.id] = sum(asked[id_] * own[id_] for id_ in shared)
            return _best(scores, limit)

    def holding(self, name: str, weights: Weights, ids: Int32Array) -> Int64Array:
        with self._asked("holding", name):
            self._known(name)
            wanted = set(ids.tolist())
            found = [row.id for row in self._rows(name) if wanted & _weights(row, weights).keys()]
            return np.array(found, dtype=np.int64)

    def entries(self, name: str) -> Iterator[Entries]:
        with self._asked("entries", name):
            _, learned = self._known(name)
            rows = list(self._rows(name))
        for begin in range(0, len(rows), _BLOCK):
            block = rows[begin : begin + _BLOCK]
            yield Entries(
                ids=np.array([row.id for row in block], dtype=np.int64),
                vectors=np.stack([row.vector for row in block]),
                bm25=_sparse([row.bm25 for row in block]),
                learned=_sparse([row.learned or {} for row in block]) if learned else None,
            )

    def names(self) -> set[str]:
        """Of all that it holds."""
        return {name for (name,) in self._connection.execute("SELECT name FROM held")}

    def held(self, name: str) -> dict[int, Held]:
        """All passages by their ids; for a test to look at, and no call."""
        with self._lock:
            return {row.id: row for row in self._rows(name)}

    @contextmanager
    def _asked(self, method: str, name: str) -> Iterator[None]:
        """One call: all of it is done or nothing."""
        with self._lock:
            self.calls.append((method, name))
            if self.down:
                raise IndexUnavailable("the plain index is down")
            with self._connection:
                yield

    def _known(self, name: str) -> tuple[int, bool]:
        """(dimension, learned)"""
        found = self._connection.execute("SELECT dimension, learned FROM held WHERE name = ?", [name]).fetchone()
        if found is None:
            raise IndexMissing(f"the plain index holds nothing of the name {name}")
        return int(found[0]), bool(found[1])

    def _rows(self, name: str, among: Int64Array | None = None) -> Iterator[Held]:
        wanted = None if among is None else set(among.tolist())
        statement = "SELECT id, vector, bm25_ids, bm25_weights, learned_ids, learned_weights FROM passage "
        for id_, vector, *parts in self._connection.execute(f"{statement} WHERE name = ? ORDER BY id", [name]):
            if wanted is None or id_ in wanted:
                learned = None if parts[2] is None else _parsed(parts[2], parts[3])
                yield Held(id=id_, vector=np.frombuffer(vector, np.float32), bm25=_parsed(*parts[:2]), learned=learned)


def _weights(row: Held, weights: Weights) -> dict[int, float]:
    if weights is Weights.BM25:
        return row.bm25
    assert row.learned is not None, "the collection has no learned weights"
    return row.learned


def _best(scores: dict[int, float], limit: int) -> Int64Array:
    ranked = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return np.array(ranked[:limit], dtype=np.int64)


def _checked(rows: SparseRows | None, count: int) -> SparseRows | None:
    if rows is not None:
        assert len(rows.offsets) == count + 1
        assert (rows.offsets[0], rows.offsets[-1]) == (0, len(rows.ids))
        assert len(rows.ids) == len(rows.weights)
        assert (rows.weights > 0).all()
        assert rows.ids.dtype == np.int32
        assert rows.weights.dtype == np.float32
        for begin, end in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
            assert len(np.unique(rows.ids[begin:end])) == end - begin >= 0
    return rows


def _bytes(rows: SparseRows | None, row: int) -> tuple[bytes | None, bytes | None]:
    if rows is None:
        return None, None
    span = slice(rows.offsets[row], rows.offsets[row + 1])
    return rows.ids[span].tobytes(), rows.weights[span].tobytes()


def _parsed(ids: bytes, weights: bytes) -> dict[int, float]:
    return dict(zip(np.frombuffer(ids, np.int32).tolist(), np.frombuffer(weights, np.float32).tolist(), strict=True))


def _sparse(rows: list[dict[int, float]]) -> SparseRows:
    offsets = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int64)
    ids = np.array([id_ for row in rows for id_ in row], dtype=np.int32)
    weights = np.array([weight for row in rows for weight in row.values()], dtype=np.float32)
    return SparseRows(offsets=offsets, ids=ids, weights=weights)
