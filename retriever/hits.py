"""What a search shows of its candidates: hits, and the numbers behind their scores."""

from __future__ import annotations

from collections.abc import Mapping

from core.records import Float64Array, Hit, LegScore
from retriever.fusion import FusedLeg, LegScores
from retriever.ledger import HitParts, LegPart
from retriever.legs import Leg
from retriever.ranking import Page
from retriever.rerank import RERANK
from store.documents import StoredPassage


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


def parts_of(page: Page, position: int, values: Mapping[Leg, Float64Array]) -> HitParts:
    """`position`: of a candidate."""
    ranked, rerank = page.ranked, page.judged.get(position)
    legs = [_leg_part(leg, scores, ranked.legs[leg], position) for leg, scores in page.candidates.legs.items()]
    if rerank is not None:
        legs = [part.times(rerank.scale) for part in legs]
    return HitParts(legs=tuple(legs), values=values, choice=ranked.choice, rerank=rerank)


def _leg_part(leg: Leg, scores: LegScores, fused: FusedLeg, position: int) -> LegPart:
    norm = float(fused.norm[position])
    outside = norm == 0 and fused.scale is not None  # at or below the pool's lowest: the value is 0, not on the line
    return LegPart(
        leg=leg,
        raw=float(scores.raw[position]),
        rank=int(scores.rank[position]) or None,
        norm=norm,
        weight=fused.weight,
        scale=0.0 if outside else fused.scale,
        constant=0.0 if outside else fused.constant,
    )
