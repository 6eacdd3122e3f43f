"""The replay endpoint: computes saved explanations again, and says whether they still hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from app.access.caller import Caller
from app.api.dependencies import Known, Parts, RequestId
from app.api.serialized import serialized
from app.schemas.explanations import ReplayRequest, ReplayResponse
from app.wiring import Wiring
from core.errors import CollectionNotFound
from core.naming import qualified
from retriever.replay import replay
from store.aliases import list_aliases

router = APIRouter(prefix="/v1", tags=["search"])

_REPLAY = {
    "scores": {
        "summary": "An explanation down to legs, made with another model",
        "value": {
            "explanation": {
                "ledger": {"value": 0.61, "kind": "score", "description": "sum of the legs", "details": []},
                "provenance": {
                    "id": 1,
                    "document_id": "a1",
                    "document_sha256": "0" * 64,
                    "score": 0.61,
                    "collection": "articles",
                    "generation": 1,
                    "seq": 2,
                    "model": "another-model",
                    "fingerprint": "0" * 32,
                    "sparse_model": None,
                    "sparse_fingerprint": None,
                    "rerank": None,
                    "bm25": {"k1": 1.2, "b": 0.75},
                    "explain": "scores",
                    "units": None,
                    "query": "I want to play on my TV.",
                    "controls": [{"start": 10, "length": 4, "factor": 7.0, "token_overlap": "partial"}],
                    "control_target": "auto",
                    "control_log_additive": True,
                    "contextual_control_threshold": None,
                    "legs": ["dense"],
                    "fusion": "auto",
                    "fusion_parameters": {"alpha": 0.5},
                    "filter": None,
                    "conditions": {"must": [], "must_not": [], "phrases": []},
                    "inputs": None,
                },
            }
        },
    },
}


@router.post("/replay", operation_id="replay", summary="Replay an explanation")
@serialized
def replay_explanation(
    parts: Parts,
    caller: Known,
    request_id: RequestId,
    body: Annotated[ReplayRequest, Body(openapi_examples=_REPLAY)],
) -> ReplayResponse:
    """Whether an explanation still holds: the same numbers, or what has changed since it was made."""
    saved = body.explanation
    record = saved.get("provenance")
    if isinstance(record, dict) and isinstance(record.get("collection"), str):
        saved = {**saved, "provenance": {**record, "collection": _stored(parts, caller, record["collection"])}}
    found = replay(parts.searcher, parts.views, saved, within=caller.rows)
    return ReplayResponse.of(found, request_id=request_id)


def _stored(parts: Wiring, caller: Caller, name: str) -> str:
    """The stored name of an explanation's collection. Raises CollectionNotFound if the caller may not see it.

    Explanations have a collection's own name, even if the caller may only see it under an alias.
    """
    try:
        return caller.collection(name)
    except CollectionNotFound:
        stored = qualified(caller.rights.tenant, name)
        with parts.database.read() as session:
            aliases = list_aliases(session)
        if not any(alias.collection == stored and caller.sees(alias.name) for alias in aliases):
            raise
        return stored
