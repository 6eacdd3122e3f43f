"""/explain: how much each part of a prompt matters for a target text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.api.aleph_alpha.bodies import Answer, JsonBody, Part, SteeredBody
from app.api.aleph_alpha.names import VERSION_DIGITS
from app.api.aleph_alpha.prompts import PromptBody, to_prompt
from app.api.bodies import parsed
from app.api.dependencies import Parts
from app.api.serialized import serialized
from app.models import Models
from core.prompts import TokenOverlap
from embedder.kinds import ModelKind

if TYPE_CHECKING:
    from embedder.explaining.objective import Objective
    from embedder.explaining.request import (
        ExplanationRequest,
        ImageScores,
        SpanScore,
        TextScores,
        TileScore,
        TokenIdsScores,
    )

router = APIRouter()

CUT_MESSAGE = "the model did not read all of prompt and target: what it did not read has no importance"


class GranularityBody(Part):
    type: Literal["token", "word", "sentence", "paragraph", "custom"]
    delimiter: str | None = Field(None, max_length=10_000)


class ExplainRequest(SteeredBody):
    model: str
    prompt: PromptBody
    target: str
    control_factor: float | None = None
    control_token_overlap: Literal["partial", "complete"] = "partial"
    prompt_granularity: GranularityBody | None = None  # None: the one that gives closest to 30 parts
    target_granularity: Literal["complete", "token"] = "complete"
    postprocessing: Literal["none", "absolute", "square"] = "none"
    normalize: bool = False

    def to_request(self) -> ExplanationRequest:
        """The request for the explanation. Raises InvalidInput and InvalidControl."""
        from embedder.explaining.request import (
            DEFAULT_FACTOR,
            ExplanationRequest,
            Granularity,
            Postprocessing,
            TargetGranularity,
        )

        granularity = self.prompt_granularity
        return ExplanationRequest(
            prompt=to_prompt(self.prompt),
            target=self.target,
            granularity=None if granularity is None else Granularity(granularity.type),
            delimiter=None if granularity is None else granularity.delimiter,
            target_granularity=TargetGranularity(self.target_granularity),
            postprocessing=Postprocessing(self.postprocessing),
            normalize=self.normalize,
            control_factor=DEFAULT_FACTOR if self.control_factor is None else self.control_factor,
            token_overlap=TokenOverlap(self.control_token_overlap),
            options=self.options(),
        )


class Explanations(Answer):
    explanations: list[dict[str, Any]]
    objective: Literal["similarity", "cross_entropy"]  # the scores are drops of this; clients ignore it
    granularity: str
    message: str | None


@router.post("/explain")
@serialized
def explain(parts: Parts, body: JsonBody) -> Explanations:
    """Explain by the similarity of prompt and target for an encoder, and by the target's cross-entropy otherwise."""
    asked = parsed(ExplainRequest, body)
    from embedder.explaining.explain import explain as explained

    found = explained(_objective(parts.models, asked.model), asked.to_request())
    return Explanations(
        model_version=f"{found.model}-{found.fingerprint[:VERSION_DIGITS]}",
        explanations=[
            {"target": each.target, "items": [*map(_item, each.items), _target(each.target_scores)]}
            for each in found.explanations
        ],
        objective=found.objective.value,
        granularity=found.granularity.value,
        message=CUT_MESSAGE if found.truncated else None,
    )


def _objective(models: Models, name: str) -> Objective:
    if models.describe(name).kind is ModelKind.CAUSAL:
        from embedder.explaining.crossentropy import CrossEntropy

        return CrossEntropy(models.causal_model(name))
    from embedder.explaining.similarity import Similarity

    return Similarity(models.encoder(name))


def _item(item: TextScores | TokenIdsScores | ImageScores) -> dict[str, Any]:
    from embedder.explaining.request import ImageScores, TextScores, TokenIdsScores

    match item:
        case TextScores():
            return {"type": "text", "scores": [_span(score) for score in item.scores]}
        case TokenIdsScores():
            return {"type": "token_ids", "scores": list(item.scores)}
        case ImageScores():
            return {"type": "image", "scores": [_tile(score) for score in item.scores]}


def _target(scores: Sequence[SpanScore]) -> dict[str, Any]:
    """The item of the target, which is the last: scores of the target's tokens before the explained one, if any."""
    return {"type": "target", "scores": [_span(score) for score in scores]}


def _span(score: SpanScore) -> dict[str, float]:
    return {"start": score.start, "length": score.length, "score": score.score}


def _tile(score: TileScore) -> dict[str, Any]:
    rect = {"left": score.left, "top": score.top, "width": score.width, "height": score.height}
    return {"rect": rect, "score": score.score}
