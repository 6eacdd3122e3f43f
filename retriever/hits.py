"""Builds the hits of a page, the numbers behind their scores, and the search profile."""

from __future__ import annotations

from collections.abc import Mapping

from core.records import Float64Array, Hit, Int64Array, LegScore
from retriever.fusion import FusedLeg, LegScores
from retriever.ledger import HitParts, LegPart
from retriever.legs import Leg
from retriever.ranking import Page
from retriever.rerank import RERANK
from retriever.result import Profile
from store.documents import StoredPassage
from store.view import View


def hit_of(passage: StoredPassage, score: float, parts: HitParts) -> Hit:
    scores = {
        part.leg.value: LegScore(raw=part.raw, rank=part.rank, norm=part.norm, weight=part.weight)
        for part in parts.legs
    }
    if parts.rerank is not None:
        judged = parts.rerank
        scores[RERANK] = LegScore(raw=judged.relevance, rank=judged.rank, norm=judged.relevance, weight=judged.weight)
    return Hit(
        id=passage.id,
        document_id=passage.document_id,
        title=passage.title,
        metadata=passage.metadata,
        passage=passage.passage,
        text=passage.text,
        score=score,
        scores=scores,
        controls=passage.controls,
    )


def parts_of(page: Page, values: Mapping[Leg, Float64Array]) -> list[HitParts]:
    """The score parts of the hits that the page shows. `values`: (shown, terms) by leg."""
    ranked = page.ranked
    by_leg = [_leg_parts(leg, scores, ranked.legs[leg], page.shown) for leg, scores in page.candidates.legs.items()]
    found = []
    for row, position in enumerate(page.shown.tolist()):
        rerank, legs = page.judged.get(position), tuple(parts[row] for parts in by_leg)
        if rerank is not None:
            legs = tuple(part.times(rerank.scale) for part in legs)
        held = {leg: table[row] for leg, table in values.items()}
        found.append(HitParts(legs=legs, values=held, choice=ranked.choice, rerank=rerank))
    return found


def profile_of(view: View, page: Page, allowed: Int64Array | None) -> Profile:
    """The profile of a search. `allowed`: the passages that match the filter; None: there is no filter."""
    return Profile(
        pools=page.candidates.pools,
        depth=page.depth,
        candidates=len(page.candidates.ids),
        documents=page.documents,
        passages=view.passage_count,
        segments=view.segment_count,
        matches=None if allowed is None else len(allowed),
    )


def _leg_parts(leg: Leg, scores: LegScores, fused: FusedLeg, shown: Int64Array) -> list[LegPart]:
    """One leg's parts of the scores of the hits. `shown`: (hits,) positions of candidates."""
    numbers = zip(scores.raw[shown].tolist(), scores.rank[shown].tolist(), fused.norm[shown].tolist(), strict=True)
    parts = []
    for raw, rank, norm in numbers:
        outside = norm == 0 and fused.scale is not None  # at or below the pool's minimum: clipped to 0, not linear
        parts.append(
            LegPart(
                leg=leg,
                raw=raw,
                rank=rank or None,
                norm=norm,
                weight=fused.weight,
                scale=0.0 if outside else fused.scale,
                constant=0.0 if outside else fused.constant,
            )
        )
    return parts
