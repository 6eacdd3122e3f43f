"""What a search shows of its candidates: hits, and the numbers behind their scores."""

from __future__ import annotations

from collections.abc import Mapping

from core.records import Float64Array, Hit, LegScore
from retriever.candidates import Candidates
from retriever.fusion import Fused, FusedLeg, LegScores
from retriever.ledger import HitParts, LegPart
from retriever.legs import Leg
from store.documents import StoredPassage


def hit_of(passage: StoredPassage, score: float, parts: HitParts) -> Hit:
    scores = {
        part.leg.value: LegScore(raw=part.raw, rank=part.rank, norm=part.norm, weight=part.weight)
        for part in parts.legs
    }
    return Hit(
        id=passage.id,
        document_id=passage.document_id,
        title=passage.title,
        metadata=passage.metadata,
        passage=passage.passage,
        text=passage.text,
        score=score,
        scores=scores,
    )


def parts_of(candidates: Candidates, ranked: Fused, position: int, values: Mapping[Leg, Float64Array]) -> HitParts:
    legs = tuple(_leg_part(leg, scores, ranked.legs[leg], position) for leg, scores in candidates.legs.items())
    return HitParts(legs=legs, values=values, choice=ranked.choice)


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
