"""A hit's score as a tree of numbers that add up.

Each leg's part of the score is a line in its raw score: value = slope * raw + constant. The raw score is itself a sum:
the cosine over tokens (embedder.attribution), BM25 over the query's terms. What rounding leaves between the stored
vector and the passage as it is embedded again has a line of its own, "residual".

A cosine can be split over the passage's words or over the query's, not both at once: the tree takes the passage's.

Reciprocal rank fusion knows ranks only. There a leg's value is shared out in proportion to its raw score's parts: an
allocation, and its lines say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.records import Explanation, Float64Array
from retriever.query import Leg
from retriever.terms import QueryTerms
from retriever.words import DenseWords, PassageWords


@dataclass(frozen=True, kw_only=True, slots=True)
class LegPart:
    """A leg's part of one hit's score: weight * norm."""

    leg: Leg
    raw: float
    rank: int | None
    norm: float
    weight: float
    scale: float | None  # value = scale * raw + constant; None where the fusion saw ranks only
    constant: float | None

    @property
    def value(self) -> float:
        return self.weight * self.norm

    @property
    def allocated(self) -> bool:
        """Whether the value is shared out by convention: the fusion saw ranks, not scores."""
        return self.scale is None

    @property
    def slope(self) -> float:
        """What one unit of raw score is worth in the final score, by allocation where need be.

        A rank's value is above 0: shared out over a raw score of 0 or less, what pulled up would count as pulling down.
        There the slope is 0, and the leg is not split.
        """
        if self.scale is not None:
            return self.scale
        return self.value / self.raw if self.raw > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HitParts:
    """The numbers behind one hit's score."""

    legs: tuple[LegPart, ...]
    products: Float64Array  # (terms,) candidates.term_products of the passage; of no use, and empty, unless explained

    def leg(self, leg: Leg) -> LegPart | None:
        """The part of `leg`, None where it takes no part in the search."""
        return next((part for part in self.legs if part.leg is leg), None)


def ledger(
    score: float, parts: HitParts, terms: QueryTerms | None, words: PassageWords | None, dense: DenseWords | None
) -> Explanation:
    """The tree of one hit. Without `words` and `dense` the cosine is one line, not split into words."""
    legs = []
    for part in parts.legs:
        inner: Sequence[Explanation] = ()
        if part.slope:
            inner = _cosine(part, words, dense) if part.leg is Leg.DENSE else _terms(part, terms, parts.products)
        if inner and part.constant:
            inner = (
                *inner,
                Explanation(value=part.constant, kind="constant", description="weight * -min / (max - min)"),
            )
        legs.append(Explanation(value=part.value, kind="leg", description=_describe(part), details=tuple(inner)))
    return Explanation(value=score, kind="score", description="sum of the legs", details=tuple(legs))


def _describe(part: LegPart) -> str:
    if part.allocated:
        place = f"rank {part.rank}" if part.rank else "not in this leg's pool"
        return f"{part.leg.value}: {place}, weight {part.weight:g} * {part.norm:.6f}"
    if not part.slope:
        return f"{part.leg.value}: raw {part.raw:.6f}; normalised to {part.norm:g}, weight {part.weight:g}"
    if part.weight == 1 and part.norm == part.raw:
        return f"{part.leg.value}: raw score"
    return f"{part.leg.value}: raw {part.raw:.6f} normalised to {part.norm:.6f}, weight {part.weight:g}"


def _cosine(part: LegPart, words: PassageWords | None, dense: DenseWords | None) -> Sequence[Explanation]:
    details: list[Explanation] = []
    if words is not None and dense is not None:
        for unit, share in zip(words.units, dense.shares, strict=True):
            place = "title" if unit.start < words.offset else "passage"
            shown = words.text[unit.start : unit.end]
            details.append(Explanation(value=part.slope * share, kind="word", description=f"{shown!r} in the {place}"))
        context = part.slope * dense.context
        details.append(Explanation(value=context, kind="context", description="special tokens and punctuation"))
        residual = part.slope * (part.raw - dense.cosine)
        details.append(Explanation(value=residual, kind="residual", description="stored vector less the one explained"))
    how = "allocated to the parts of cosine" if part.allocated else "scale * cosine"
    description = f"{how} {part.raw:.6f}"
    return (Explanation(value=part.slope * part.raw, kind="cosine", description=description, details=tuple(details)),)


def _terms(part: LegPart, terms: QueryTerms | None, products: Float64Array) -> Sequence[Explanation]:
    if terms is None:
        return ()
    how = "allocated to" if part.allocated else "scale *"
    return [
        Explanation(
            value=part.slope * factor * product,
            kind="term",
            description=f"{term!r}: {how} factor {factor:g} * BM25 {product:.6f}",
        )
        for term, factor, product in zip(terms.terms, terms.factors, products, strict=True)
        if factor * product
    ]
