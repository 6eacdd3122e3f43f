"""The ledger: decomposes a hit's score into a tree of numbers that add up.

Each leg's part of the score is linear in its raw score: value = slope * raw + constant. The raw score is itself a sum:
the cosine over tokens (embedder.attribution), the score of a sparse leg over the query's terms. The rounding difference
between the stored vector and the passage as embedded again has an entry of its own, "residual".

A learned weight of the passage comes from one token, the strongest (or from the sum of all, depending on the model's
pooling); its term's product is attributed to the words of these tokens. This, too, is an allocation: without them,
another token may take over.

A cosine can be split over the passage's words or over the query's, but not both at once: the tree splits it over the
passage's.

A reranker has an entry of its own, relevance times weight. The legs' entries are then multiplied by the factor that
scales the fused scores of its window to 0..1, and the offset of that scaling is a constant.

Reciprocal rank fusion uses ranks only. There a leg's value is divided in proportion to the parts of its raw score; this
is an allocation by convention, and the entries say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.reasons import Explanation
from core.records import Float64Array
from retriever.adaptive import Choice
from retriever.legs import Leg, SparseTerms
from retriever.rerank import RERANK, RerankPart
from retriever.words import DenseWords, LearnedWords, PassageWords

_CONTEXT = "special tokens, the model's prefix (if any) and punctuation"


@dataclass(frozen=True, kw_only=True, slots=True)
class LegPart:
    """A leg's part of one hit's score: weight * norm."""

    leg: Leg
    raw: float
    rank: int | None
    norm: float
    weight: float
    scale: float | None  # value = scale * raw + constant; None if the fusion used ranks only
    constant: float | None

    def times(self, scale: float) -> LegPart:
        """The part multiplied by `scale`."""
        return replace(
            self,
            weight=scale * self.weight,
            scale=None if self.scale is None else scale * self.scale,
            constant=None if self.constant is None else scale * self.constant,
        )

    @property
    def value(self) -> float:
        return self.weight * self.norm

    @property
    def allocated(self) -> bool:
        """Whether the value is divided by convention, because the fusion used ranks, not scores."""
        return self.scale is None

    @property
    def slope(self) -> float:
        """The final score per unit of raw score; for rank fusion an allocation.

        The value of a rank is above 0. Divided over a raw score of 0 or less, it would reverse the signs of the parts;
        in that case the slope is 0, and the leg is not split.
        """
        if self.scale is not None:
            return self.scale
        return self.value / self.raw if self.raw > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HitParts:
    """The numbers behind one hit's score."""

    legs: tuple[LegPart, ...]
    values: Mapping[Leg, Float64Array]  # (terms,) SparseTerms.values by sparse leg; empty unless explained
    choice: Choice | None = None  # how the weights of the legs were chosen, if the fusion chose them
    rerank: RerankPart | None = None  # None: the hit was not reranked

    def leg(self, leg: Leg) -> LegPart | None:
        """The part of `leg`; None if the search does not use it."""
        return next((part for part in self.legs if part.leg is leg), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class HitWords:
    """The contributions of a passage's words; None for a leg that is not used, or whose model provides no traces."""

    passage: PassageWords
    dense: DenseWords | None
    learned: LearnedWords | None


def ledger(
    score: float,
    parts: HitParts,
    sparse: Mapping[Leg, SparseTerms],
    words: HitWords | None,
    *,
    controlled: bool = False,
) -> Explanation:
    """The tree of one hit. Without `words`, the cosine and the learned products are not split into words.

    `controlled`: whether the document has controls on the passage.
    """
    legs = []
    for part in parts.legs:
        inner: Sequence[Explanation] = ()
        if part.slope:
            inner = _cosine(part, words) if part.leg is Leg.DENSE else _terms(part, parts, sparse[part.leg], words)
        if inner and part.constant:
            inner = (
                *inner,
                Explanation(value=part.constant, kind="constant", description="weight * -min / (max - min)"),
            )
        description = _describe(part) + _why(part, parts.choice)
        legs.append(Explanation(value=part.value, kind="leg", description=description, details=tuple(inner)))
    agree = "" if parts.choice is None else f", whose first documents agree to {parts.choice.agreement:.2f}"
    beside = "" if parts.rerank is None else " and of what the reranker judged"
    details = (*legs, *_judgement(parts.rerank))
    counted = ", of a passage whose parts count as its document's controls say" if controlled else ""
    said = f"sum of the legs{agree}{beside}{counted}"
    return Explanation(value=score, kind="score", description=said, details=details)


def _judgement(part: RerankPart | None) -> Sequence[Explanation]:
    if part is None:
        return ()
    described = (
        f"{part.model}: relevance {part.relevance:.6f}, weight {part.weight:g}; the legs are times {part.scale:g}"
    )
    lines = [Explanation(value=part.value, kind=RERANK, description=described)]
    if part.constant:
        taken = "(1 - weight) * -low / (high - low) of the window"
        described = taken if part.scale else "1 - weight: the window's fused scores have no spread"
        lines.append(Explanation(value=part.constant, kind="constant", description=described))
    return lines


def _why(part: LegPart, choice: Choice | None) -> str:
    """The observations by which the auto fusion chose the weight, as text."""
    if choice is None:
        return ""
    seen = choice.legs[part.leg]
    evidence = f"decisive by {seen.decisiveness:.2f}, the others confirm {seen.confirmation:.2f}"
    return f" (starts from {seen.prior:.2f}, {evidence})"


def _describe(part: LegPart) -> str:
    if part.allocated:
        place = f"rank {part.rank}" if part.rank else "not in this leg's pool"
        return f"{part.leg.value}: {place}, weight {part.weight:g} * {part.norm:.6f}"
    if not part.slope:
        return f"{part.leg.value}: raw {part.raw:.6f}; normalised to {part.norm:g}, weight {part.weight:g}"
    if part.weight == 1 and part.norm == part.raw:
        return f"{part.leg.value}: raw score"
    return f"{part.leg.value}: raw {part.raw:.6f} normalised to {part.norm:.6f}, weight {part.weight:g}"


def _cosine(part: LegPart, words: HitWords | None) -> Sequence[Explanation]:
    details: list[Explanation] = []
    if words is not None and words.dense is not None:
        dense = words.dense
        details = _words(words.passage, part.slope * dense.shares, "in the")
        context = part.slope * dense.context
        details.append(Explanation(value=context, kind="context", description=_CONTEXT))
        residual = part.slope * (part.raw - dense.cosine)
        details.append(Explanation(value=residual, kind="residual", description="stored vector less the one explained"))
    how = "allocated to the parts of cosine" if part.allocated else "scale * cosine"
    description = f"{how} {part.raw:.6f}"
    return (Explanation(value=part.slope * part.raw, kind="cosine", description=description, details=tuple(details)),)


def _terms(part: LegPart, parts: HitParts, terms: SparseTerms, words: HitWords | None) -> Sequence[Explanation]:
    how = "allocated to" if part.allocated else "scale *"
    learned = None if words is None or words.learned is None or words.learned.leg is not part.leg else words.learned
    lines = []
    for i, (term, factor, value) in enumerate(zip(terms.terms, terms.factors, parts.values[part.leg], strict=True)):
        if not factor * value:
            continue
        product = part.slope * factor * value
        details: list[Explanation] = []
        if words is not None and learned is not None:
            shares = product * learned.shares[:, i]
            details = _words(words.passage, shares, "allocated to the", zeros=False)
            rest = product * float(learned.context[i])
            if rest:
                details.append(Explanation(value=rest, kind="context", description=_CONTEXT))
        formula = terms.formula.format(factor=factor, value=value)
        description = f"{terms.label(term)}: {how} {formula}"
        lines.append(Explanation(value=product, kind="term", description=description, details=tuple(details)))
    return lines


def _words(passage: PassageWords, values: Float64Array, place: str, *, zeros: bool = True) -> list[Explanation]:
    """One entry per word. `values`: (words,). `zeros`: whether to include words of value 0, which for a learned weight
    are nearly all.
    """
    text, offset, lines = passage.text, passage.offset, []
    for (_, start, end), factor, value in zip(passage.units, passage.factors.tolist(), values.tolist(), strict=True):
        if value or zeros:
            where = "title" if start < offset else "passage"
            counts = "" if factor == 1 else f", where it counts {factor:g} times"
            lines.append(Explanation(value, "word", f"{text[start:end]!r} {place} {where}{counts}"))
    return lines
