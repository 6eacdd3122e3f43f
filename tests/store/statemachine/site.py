"""One process's side of a data directory: what the state machine does to it, and what a search there says.

Requests and answers are plain values, so that another process can be asked as well (process.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from core.errors import HitNotFound
from core.filters import parse_filter
from core.records import Collection
from store import Database, Pool, View, Views, catalog
from store.commit import commit
from store.documents import list_documents
from store.segments import upkeep
from store.segments.rows import active_segments
from store.segments.sealing import merge, seal
from store.segments.upkeep import compact, maintain
from tests.store.learned_library import batch_of, create_learned, vector
from tests.store.library import DIMENSION, WORDS, Item, vector_of
from tests.store.statemachine.oracle import token_weights

NAME = "books"
# No process of the machine waits for another: it is held at a step of its own until the other one is through.
BUSY_MS = 20
EVERYTHING = 10_000

Scored = list[tuple[int, float]]  # passage id, score


@dataclass(frozen=True, kw_only=True)
class Question:
    """All legs of a search. `filter` as JSON."""

    line: str  # whose vector is the query
    factors: Mapping[str, float]  # by term
    filter: Mapping[str, Any] | None
    k: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one view holds, and what it says to a question."""

    seq: int
    passages: dict[int, tuple[str, int, str]]  # by id: document id, start, text
    metadata: dict[str, Mapping[str, Any]]  # by document id
    df: dict[str, int]
    average_length: float
    allowed: list[int] | None
    dense: Scored
    bm25: Scored
    learned: Scored


@dataclass(frozen=True, kw_only=True)
class Written:
    """A commit that was acknowledged."""

    seq: int
    changed: bool


class Site:
    """The database as one process has it open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open()

    def put(self, items: Sequence[Item], gone: Sequence[str]) -> Written:
        with self._database.write() as session:
            collection = catalog.get_collection(session, NAME)
            receipt = commit(session, batch_of(collection, items, delete=gone))
        changed = receipt.created + receipt.replaced + receipt.updated + receipt.deleted > 0
        return Written(seq=receipt.seq, changed=changed)

    def ask(self, question: Question) -> Answer:
        try:
            with self._views.open(NAME) as view:
                return _answer(view, question)
        except HitNotFound as error:
            raise AssertionError(f"a snapshot holds what is gone: {error}") from error

    def documents(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Text and metadata by id, as the tables have them."""
        with self._database.read() as session:
            stored = list_documents(session, catalog.get_collection(session, NAME).id, limit=EVERYTHING)
        return {item.document.id: (item.document.text, item.document.metadata) for item in stored}

    def seal(self) -> None:
        seal(self._database, self._collection().active.id)

    def merge(self) -> None:
        """The first three segments, or as many as there are."""
        generation = self._collection().active.id
        with self._database.read() as session:
            ids = [row.id for row in active_segments(session, generation)[:3]]
        if ids:
            merge(self._database, generation, ids)

    def compact(self) -> None:
        compact(self._database, self._collection())

    def maintain(self) -> None:
        """All that is due, with sizes that suit few passages."""
        with patch.multiple(upkeep, SEAL_ROWS=5, QUIET_ROWS=5):
            while maintain(self._database, grace_seconds=0):
                pass

    def checkpoint(self) -> None:
        self._database.checkpoint()

    def reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._database.close()

    def _collection(self) -> Collection:
        with self._database.read() as session:
            return catalog.get_collection(session, NAME)

    def _open(self) -> None:
        self._database = Database.open(self._folder, busy_timeout_ms=BUSY_MS)
        self._views = Views(self._database)


def make(folder: Path) -> None:
    """An empty collection in a new data directory, whose fields have had values of every kind that filters ask for."""
    database = Database.open(folder)
    create_learned(database, NAME)
    database.close()
    site = Site(folder)
    kinds = {"parity": 0, "tag": "x", "n": [1, "1", True]}
    site.put([Item(id="first", text="whale", metadata=kinds)], [])
    site.put([], ["first"])
    site.close()


def _answer(view: View, question: Question) -> Answer:
    everything = view.nearest(np.zeros(DIMENSION, np.float32), EVERYTHING).ids
    hits = {hit.id: hit for hit in view.fetch(everything)}
    allowed = None if question.filter is None else view.filter(parse_filter(question.filter))
    query = vector_of(question.line)
    tokens = token_weights(question.factors)
    statistics = view.term_statistics(WORDS)
    return Answer(
        seq=view.seq,
        passages={id_: (hit.document_id, hit.passage.start, hit.text) for id_, hit in hits.items()},
        metadata={hit.document_id: hit.metadata for hit in hits.values()},
        df=dict(statistics.df),
        average_length=statistics.average_length,
        allowed=None if allowed is None else allowed.tolist(),
        dense=_scored(view.nearest(query, question.k, allowed)),
        bm25=_scored(view.matching(question.factors, question.k, allowed)),
        learned=_scored(view.matching_learned(vector(tokens), question.k, allowed)),
    )


def _scored(pool: Pool) -> Scored:
    return list(zip(pool.ids.tolist(), pool.scores.tolist(), strict=True))
