"""Reranking: a cross-encoder judges the relevance of the first documents to the query, each by its best passage.

These documents are the window: the first `depth` of the fused ranking. They are reordered among themselves by

    score = (1 - weight) * (fused - low) / (high - low) + weight * relevance

where low and high are the lowest and the highest fused score in the window, so that a weight has the same meaning with
every fusion, and relevance is the model's judgement, 0 to 1. If the window has no spread, its fused scores count as 1.
Documents below the window stay there, with their fused scores: which documents are judged does not depend on the page.

The model reads the query's text without emphasis, and the title and text of the passage. The same pairs recur in a
query's next page, in explanations and in trials of changed emphasis, so recent judgements are cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.context import models_read
from core.errors import InvalidQuery, ModelNotFound
from core.passages import kept_text, passage_prompt
from core.protocols import Reranker, Rerankers
from core.records import Float64Array
from retriever.fusion import usable_spread
from retriever.lrucache import Audience, LruCache, digest
from store.documents import StoredPassage

RERANK = "rerank"  # its name in the scores of a hit, and in `left_out`
MAX_DEPTH = 200
_KEPT_BYTES = 16 * 2**20  # size of the cache of judgements
_BYTES_EACH = 256  # estimate for a key, two numbers and their table entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerank:
    """A request for reranking. Raises InvalidQuery for values out of range."""

    model: str  # name of the reranker
    depth: int = 50  # number of documents to judge, 1..MAX_DEPTH
    weight: float = 1.0  # 0..1, of the model's judgement in the score; the fused score has the rest

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidQuery("rerank names no model: give the name of a reranker", param="rerank.model")
        if not 1 <= self.depth <= MAX_DEPTH:
            raise InvalidQuery(f"rerank depth {self.depth}: allowed are 1 to {MAX_DEPTH}", param="rerank.depth")
        if not 0 <= self.weight <= 1:
            raise InvalidQuery(f"rerank weight {self.weight}: must be between 0 and 1", param="rerank.weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A model's judgements of the passages of a window."""

    fingerprint: str  # of the model
    relevance: Mapping[int, float]  # 0..1, by passage id


@dataclass(frozen=True, kw_only=True, slots=True)
class Reranked:
    """The window's scores: `scale` * fused + `constant` + weight * relevance."""

    scores: Float64Array  # (window,) in the order of the window
    rank: Mapping[int, int]  # by place in the window: 1-based rank by relevance
    scale: float
    constant: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RerankPart:
    """The model's part in one hit's score: weight * relevance. The legs' parts are then multiplied by `scale`."""

    model: str
    relevance: float
    rank: int  # rank by relevance in the window, from 1
    weight: float
    scale: float
    constant: float

    @property
    def value(self) -> float:
        return self.weight * self.relevance


def reranked(fused: Float64Array, relevance: Float64Array, weight: float) -> Reranked:
    """Compute the window's new scores. `fused`, `relevance`: (window,) in the same order, at least one."""
    low, high = float(fused.min()), float(fused.max())
    spread = usable_spread(low, high)
    if spread:
        scale = (1 - weight) / spread
        constant = -scale * low
    else:
        scale, constant = 0.0, 1 - weight
    best = np.argsort(-relevance, kind="stable")
    return Reranked(
        scores=scale * fused + constant + weight * relevance,
        rank={int(place): rank for rank, place in enumerate(best, start=1)},
        scale=scale,
        constant=constant,
    )


class Judge:
    """Judges passages with rerankers, and caches recent judgements. Thread-safe."""

    def __init__(self, rerankers: Rerankers | None) -> None:
        """`rerankers`: None if there are none."""
        self._rerankers = rerankers
        self._known: LruCache[bytes, tuple[float, int]] = LruCache(_KEPT_BYTES, lambda _: _BYTES_EACH)

    @property
    def kept_bytes(self) -> int:
        """Memory that the cache uses."""
        return self._known.bytes

    def judged(
        self,
        model: str,
        query: str,
        passages: Sequence[StoredPassage],
        audience: Audience,
        before: Judged | None = None,
    ) -> Judged:
        """Judge passages.

        `audience`: callers that may share cached judgements. `before`: earlier judgements for this query; their
        passages are neither read nor counted again.

        Raises ModelNotFound, ModelError, and InvalidInput if the model is not a reranker.
        """
        if self._rerankers is None:
            raise ModelNotFound(f"there is no reranker {model!r:.80} here: no models are configured", param="rerank")
        reranker = self._rerankers(model)
        by_id = dict(before.relevance) if before is not None and before.fingerprint == reranker.fingerprint else {}
        new = [passage for passage in passages if passage.id not in by_id]
        texts = [
            passage_prompt(passage.title.strip(), kept_text(passage.text, passage.controls).text) for passage in new
        ]
        said = self._said(reranker, query, texts, audience)
        by_id |= {passage.id: relevance for passage, relevance in zip(new, said, strict=True)}
        return Judged(fingerprint=reranker.fingerprint, relevance=by_id)

    def _said(self, reranker: Reranker, query: str, texts: Sequence[str], audience: Audience) -> list[float]:
        keys = [digest(audience, reranker.fingerprint, query, text) for text in texts]
        known = {key: was for key, was in zip(keys, self._known.get(keys), strict=True) if was is not None}
        # Counted as if read: usage must not reveal what others searched for.
        models_read(sum(tokens for _, tokens in known.values()))
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            said = reranker.rerank(query, list(new.values()))
            made = dict(zip(new, zip(said.scores.tolist(), said.token_counts.tolist(), strict=True), strict=True))
            for key, judged in made.items():
                self._known.put(key, judged)
            known |= made
        return [known[key][0] for key in keys]
