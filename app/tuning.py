"""Tunes a collection's scoring (alpha, k1, b) to relevance judgements, and tests whether the gain is significant."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.significance import LEVEL, randomisation
from app.wiring import Wiring
from core.errors import InvalidInput
from core.records import Collection, Float64Array, Scoring, SparseScoring
from retriever.query import Query

ALPHAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
K1 = (0.6, 0.9, 1.2, 1.8)
B = (0.4, 0.75, 0.9)
FOLDS = 5
FEWEST = 20  # queries: with fewer, hardly any gain could be distinguished from luck
DEPTH = 10  # documents considered by the measure, nDCG@10


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """The fitted scoring, and its gain."""

    queries: int
    current: Scoring
    fitted: Scoring  # the best one on all queries
    ndcg: float  # nDCG@10 of `current`, mean over the queries
    fitted_ndcg: float  # of `fitted`, on the same queries that it was fitted to: an overestimate for others
    gain: float  # in nDCG@10, cross-validated: on queries that the fit had not seen
    p: float  # chance of so large a gain or loss by luck alone

    @property
    def worthwhile(self) -> bool:
        """Whether there is a significant gain on queries that the fit had not seen."""
        return self.gain > 0 and self.p < LEVEL

    def to_json(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "folds": FOLDS,
            "current": {**asdict(self.current), "ndcg@10": self.ndcg},
            "fitted": {**asdict(self.fitted), "ndcg@10": self.fitted_ndcg},
            "cross_validated_gain": self.gain,
            "p": self.p,
            "significant": self.worthwhile,
        }


def tune(
    parts: Wiring,
    collection: str,
    queries: Mapping[str, str],
    judgements: Mapping[str, Mapping[str, int]],
    *,
    on_tried: Callable[[int], None] | None = None,
) -> Tuning:
    """Fit to queries (text by id) and judgements (relevance by query id and document id; above 0 is relevant).

    `on_tried` is called with the number of queries done so far. Raises InvalidInput if fewer than FEWEST queries have a
    relevant document in the collection, and any error of a search.
    """
    with parts.views.open(collection) as view:
        found = view.collection
        numbers = view.document_numbers({id_ for judged in judgements.values() for id_ in judged})
    gains = dict(_gains(judgements, numbers))
    if len(gains) < FEWEST:
        raise InvalidInput(
            f"{len(gains)} queries have a relevant document in the collection {collection!r}; tuning needs at least "
            f"{FEWEST}, and gets better with hundreds. Judgements must name documents by their ids in the collection",
            param="qrels",
        )
    scorings = grid(found)
    table = np.empty((len(gains), len(scorings)))
    for row, (id_, gain) in enumerate(gains.items()):
        tried = parts.searcher.try_scorings(collection, Query(text=queries[id_], k=DEPTH), scorings)
        table[row] = [ndcg([gain.get(int(number), 0) for number in ranking], gain.values()) for ranking in tried]
        if on_tried is not None:
            on_tried(row + 1)
    unseen = cross_validated(table, [_fold(id_) for id_ in gains])
    best = int(table.mean(axis=0).argmax())
    return Tuning(
        queries=len(gains),
        current=scorings[0],
        fitted=scorings[best],
        ndcg=float(table[:, 0].mean()),
        fitted_ndcg=float(table[:, best].mean()),
        gain=float((unseen - table[:, 0]).mean()),
        p=randomisation(unseen - table[:, 0]),
    )


def grid(collection: Collection) -> list[Scoring]:
    """Return the scorings to try. The current one is first, as the first of equals is chosen.

    Scorings with the same k1 and b are adjacent.
    """
    settings = collection.settings
    current = Scoring(alpha=settings.alpha, k1=settings.k1, b=settings.b)
    pairs = [(current.k1, current.b)]
    if settings.sparse is not SparseScoring.LEARNED:  # which does not use BM25
        pairs += [(k1, b) for k1 in K1 for b in B if (k1, b) not in pairs]
    alphas = [current.alpha, *(alpha for alpha in ALPHAS if alpha != current.alpha)]
    return [Scoring(alpha=alpha, k1=k1, b=b) for k1, b in pairs for alpha in alphas]


def cross_validated(table: Float64Array, folds: Sequence[int]) -> Float64Array:
    """Return (queries,) the figure of each query in the column that is best on the queries of the other folds.

    `table`: (queries, columns) float64; `folds`: the fold of each query. Column 0 is chosen unless another is better.
    """
    fold = np.array(folds)
    chosen = np.empty(len(table))
    for held_out in np.unique(fold):
        others = table[fold != held_out]
        column = int(others.mean(axis=0).argmax()) if len(others) else 0
        chosen[fold == held_out] = table[fold == held_out, column]
    return chosen


def ndcg(ranked: Sequence[int], judged: Iterable[int]) -> float:
    """Return nDCG@10, given the relevance of the ranked documents, best first, and of all judged documents.

    At least one of the latter must be above 0.
    """

    def gain(relevance: Sequence[int]) -> float:
        return math.fsum(value / math.log2(place + 2) for place, value in enumerate(relevance))

    return gain(ranked[:DEPTH]) / gain(sorted(judged, reverse=True)[:DEPTH])


def _gains(
    judgements: Mapping[str, Mapping[str, int]], numbers: Mapping[str, int]
) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield the queries with a relevant document in the collection, with the relevance by document number."""
    for query, judged in judgements.items():
        held = {numbers[id_]: max(relevance, 0) for id_, relevance in judged.items() if id_ in numbers}
        if any(held.values()):
            yield query, held


def _fold(query: str) -> int:
    """Return the query's fold, which depends only on its id: not on the other queries, nor on their order."""
    return int.from_bytes(hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:4]) % FOLDS
