"""Saved explanations, computed again."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.dependencies import Parts, RequestId
from app.explanation_schemas import ReplayRequest, ReplayResponse
from retriever.replay import replay

router = APIRouter(prefix="/v1", tags=["search"])


@router.post("/replay", operation_id="replay")
def replay_explanation(parts: Parts, request_id: RequestId, body: ReplayRequest) -> ReplayResponse:
    """Whether an explanation still holds: the same numbers, or what has changed since it was made."""
    return ReplayResponse.of(replay(parts.searcher, parts.views, body.explanation), request_id=request_id)
