"""Options that select the ranked passages to show: score thresholds, diversity, groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import InvalidQuery
from retriever.candidates import Candidates
from retriever.fusion import Fused
from retriever.legs import Leg

GROUP_HITS, MAX_GROUP_HITS = 3, 100  # hits of a group: default and maximum


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBy:
    """A request to group hits by a field. Raises InvalidQuery for a number of hits that is not allowed."""

    field: str  # of the metadata, keys of nested objects joined by dots
    hits: int = GROUP_HITS  # maximum hits of a group

    def __post_init__(self) -> None:
        if not 1 <= self.hits <= MAX_GROUP_HITS:
            raise InvalidQuery(
                f"hits_per_group is {self.hits}; allowed are 1 to {MAX_GROUP_HITS}", param="hits_per_group"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """How to select hits. Raises InvalidQuery for values out of range, and for options that exclude each other."""

    min_scores: Mapping[Leg, float] = field(default_factory=dict)  # by leg: the raw score that a hit must reach
    diversity: float = 0.0  # 0..1: how much a hit is penalised for similarity to those above; see retriever.diversity
    group_by: GroupBy | None = None  # if set, k and offset count groups

    def __post_init__(self) -> None:
        for leg, score in self.min_scores.items():
            if not math.isfinite(score):
                raise InvalidQuery(f"min_scores.{leg.value} is {score}: it must be a finite number", param="min_scores")
        if not 0 <= self.diversity <= 1:
            raise InvalidQuery(f"diversity is {self.diversity}; allowed are 0 to 1", param="diversity")
        if self.diversity and self.group_by:
            raise InvalidQuery(
                "diversity and group_by both spread the hits, and their orders contradict each other: leave one out",
                param="diversity",
            )

    def check_legs(self, legs: tuple[Leg, ...]) -> None:
        """Raises InvalidQuery for a threshold of a leg that is not searched."""
        for leg in self.min_scores:
            if leg not in legs:
                raise InvalidQuery(
                    f"min_scores names the {leg.value} leg, and this search goes by {', '.join(legs)}",
                    param="min_scores",
                )


def reaching(candidates: Candidates, ranked: Fused, least: Mapping[Leg, float]) -> tuple[Candidates, Fused]:
    """The candidates whose raw scores reach the thresholds; their fused scores are unchanged.

    If a leg with a threshold was skipped for lack of time, no candidate reaches it.
    """
    if not least:
        return candidates, ranked
    kept, complete = np.ones(len(candidates.ids), dtype=np.bool_), candidates.complete
    for leg, score in least.items():
        if leg not in candidates.legs:
            kept[:] = False
            continue
        above = candidates.legs[leg].raw >= score
        kept &= above
        # If a passage of the leg's own pool is below the threshold, the pool contains all that reach it.
        complete = complete or int(above.sum()) < candidates.pools[leg]
    legs = {
        leg: replace(scores, raw=scores.raw[kept], rank=scores.rank[kept]) for leg, scores in candidates.legs.items()
    }
    fused = {leg: replace(part, norm=part.norm[kept]) for leg, part in ranked.legs.items()}
    return (
        replace(
            candidates,
            ids=candidates.ids[kept],
            documents=candidates.documents[kept],
            legs=legs,
            complete=complete,
        ),
        replace(ranked, scores=ranked.scores[kept], legs=fused),
    )
