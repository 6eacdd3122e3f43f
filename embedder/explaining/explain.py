"""Computes an explanation: suppresses each part of the prompt in turn and scores it by the objective's drop."""

from __future__ import annotations

from functools import cache

import numpy as np

from core.prompts import ImageItem, TextItem, TokenIdsItem
from core.records import Float64Array
from embedder.explaining.objective import Measurement, Objective
from embedder.explaining.request import (
    Explanation,
    ExplanationRequest,
    ExplanationResult,
    ImageScores,
    Postprocessing,
    SpanScore,
    TargetGranularity,
    TextScores,
    TileScore,
    TokenIdsScores,
)
from embedder.explaining.units import SpanUnit, TileUnit, TokenUnit, Unit, prompt_units, suppressed
from embedder.lexical.sentences import without_space


def explain(objective: Objective, request: ExplanationRequest) -> ExplanationResult:
    """How much each part of the prompt matters for the target, or for each token of it.

    A part's score is the drop of the objective when `control_factor` is put on it. Postprocessing and then scaling
    apply to all scores of one explanation together, those of the target's own tokens included.
    Raises InvalidInput for a prompt without parts or with too many, InvalidControl if the model takes no controls.
    """
    token_spans = cache(objective.token_spans)
    granularity, units = prompt_units(request, token_spans)
    variants = [suppressed(request.prompt, unit, request, token_spans) for unit in units]
    measured = objective.measure([request.prompt, *variants], request)
    return ExplanationResult(
        explanations=tuple(_explanation(request, units, measured, part) for part in range(len(measured.parts))),
        objective=objective.name,
        granularity=granularity,
        truncated=measured.truncated,
        model=objective.model,
        fingerprint=objective.fingerprint,
    )


def finished(scores: Float64Array, postprocessing: Postprocessing, normalize: bool) -> Float64Array:
    """The scores after `postprocessing` and, with `normalize`, scaled to 0..1 (all 0 if they are equal)."""
    match postprocessing:
        case Postprocessing.ABSOLUTE:
            scores = np.abs(scores)
        case Postprocessing.SQUARE:
            scores = np.square(scores)
    if not normalize:
        return scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def _explanation(request: ExplanationRequest, units: list[Unit], measured: Measurement, part: int) -> Explanation:
    drops = measured.values[0, part] - measured.values[1:, part]
    before = _predecessors(request, measured, part)
    raw = np.concatenate([drops, [measured.preceding[part, j] for j, _, _ in before]])
    scores = finished(raw, request.postprocessing, request.normalize).tolist()
    return Explanation(
        target=request.target[slice(*measured.parts[part])],
        items=_items(request, units, scores[: len(units)]),
        target_scores=tuple(
            SpanScore(start=start, length=end - start, score=score)
            for (_, start, end), score in zip(before, scores[len(units) :], strict=True)
        ),
        value=float(measured.values[0, part]),
    )


def _predecessors(request: ExplanationRequest, measured: Measurement, part: int) -> list[tuple[int, int, int]]:
    """Index, start and end of the target's parts before `part`, without white space at their ends.

    Parts of white space only are left out.
    """
    if request.target_granularity is TargetGranularity.COMPLETE:
        return []
    found = []
    for j, (start, end) in enumerate(measured.parts[:part]):
        if (span := without_space(request.target, start, end)) is not None:
            found.append((j, *span))
    return found


def _items(
    request: ExplanationRequest, units: list[Unit], scores: list[float]
) -> tuple[TextScores | TokenIdsScores | ImageScores, ...]:
    scored = list(zip(units, scores, strict=True))
    items: list[TextScores | TokenIdsScores | ImageScores] = []
    for index, item in enumerate(request.prompt.items):
        own = [(unit, score) for unit, score in scored if unit.item == index]
        match item:
            case TextItem():
                items.append(TextScores(scores=tuple(_span(u, s) for u, s in own if isinstance(u, SpanUnit))))
            case TokenIdsItem():
                items.append(TokenIdsScores(scores=tuple(s for u, s in own if isinstance(u, TokenUnit))))
            case ImageItem():
                items.append(ImageScores(scores=tuple(_tile(u, s) for u, s in own if isinstance(u, TileUnit))))
    return tuple(items)


def _span(unit: SpanUnit, score: float) -> SpanScore:
    return SpanScore(start=unit.start, length=unit.end - unit.start, score=score)


def _tile(unit: TileUnit, score: float) -> TileScore:
    return TileScore(left=unit.left, top=unit.top, width=unit.width, height=unit.height, score=score)
