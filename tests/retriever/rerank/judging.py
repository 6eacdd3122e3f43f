"""A reranker with an opinion of its own, and the slow obvious version of what becomes of a ranking by it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from core.records import Hit, Relevance
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.fusion import Fusion
from retriever.legs import Leg
from retriever.query import Query
from retriever.searcher import Searcher
from store import Database, Views

TEXT = "friends play a game at night"
FUSIONS = [Fusion(), Fusion(method="convex", alpha=0.3), Fusion(method="rrf")]
LEGS = [None, (Leg.DENSE,), (Leg.SPARSE,)]


class Opinionated:
    """Judges by a digest of the pair, to one digit: another opinion than any leg's, with equals. Keeps what it read."""

    name, fingerprint = "opinionated", "f" * 32

    def __init__(self) -> None:
        self.read: list[list[str]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def rerank(self, query: str, documents: Sequence[str]) -> Relevance:
        self.read.append(list(documents))
        self.meanwhile()
        scores = np.array([opinion(query, document) for document in documents])
        truncated = np.zeros(len(documents), dtype=np.bool_)
        return Relevance(scores=scores, token_counts=np.ones(len(documents), dtype=np.int64), truncated=truncated)


def opinion(query: str, document: str) -> float:
    return hashlib.sha256(f"{query}\0{document}".encode()).digest()[0] % 11 / 10


def judgement(query: Query, hit: Hit) -> float:
    return opinion(query.text, f"{hit.title.strip()} {hit.text}" if hit.title.strip() else hit.text)


def searching(database: Database, encoder: LocalEncoder, judge: Any) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer(), rerankers={"judge": judge}.__getitem__)


def slowly(query: Query, hits: Sequence[Hit]) -> list[tuple[int, float]]:
    """Ids and scores of the plain ranking `hits`, its window in the order of the formula."""
    rerank = query.rerank
    assert rerank is not None
    window = hits[: rerank.depth]
    scores = [hit.score for hit in window]
    spread = max(scores) - min(scores)
    made = []
    for hit in window:
        norm = (hit.score - min(scores)) / spread if spread else 1.0
        made.append((hit.id, (1 - rerank.weight) * norm + rerank.weight * judgement(query, hit)))
    made.sort(key=lambda one: (-round(one[1], 9), one[0]))
    return [*made, *((hit.id, hit.score) for hit in hits[rerank.depth :])]


def same(found: Sequence[Hit], expected: Sequence[tuple[int, float]]) -> None:
    assert [hit.id for hit in found] == [id_ for id_, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], abs=1e-9)
