"""Endpoints for API keys and the audit log, for the operator."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from app.access import keys
from app.api.dependencies import Known, Parts
from app.api.links import KEY_MADE
from app.schemas.keys import ActionBody, AuditLog, CreateKey, KeyBody, KeyList, NewKeyBody, RotateKey
from store.audit import list_actions
from store.keys import list_keys
from store.schema import MAX_ID

router = APIRouter(prefix="/v1/admin", tags=["admin"])

_CREATE = {
    "shop": {
        "summary": "A tenant's key that searches, with limits",
        "value": {
            "name": "web shop",
            "role": "search",
            "tenant": "acme",
            "collections": ["products-*"],
            "limits": {"requests_per_minute": 600, "concurrent_searches": 8},
        },
    },
    "rows": {
        "summary": "A key that sees some of the documents",
        "value": {"name": "branch office", "role": "search", "filter": {"branch": "north"}},
    },
}
_ROTATE = {"day": {"summary": "Both are good for a day", "value": {"overlap_seconds": 86400}}}
KeyId = Annotated[int, Path(description="the key's id", examples=[1], ge=1, le=MAX_ID)]


@router.post("/keys", status_code=201, responses={201: KEY_MADE}, operation_id="create_key", summary="Create a key")
def create(parts: Parts, caller: Known, body: Annotated[CreateKey, Body(openapi_examples=_CREATE)]) -> NewKeyBody:
    """Create a key. Its secret is in this answer, and nowhere else."""
    key, token = keys.create(parts.database, caller.who, body.to_rights())
    parts.keyring.refresh(at_once=True)
    return NewKeyBody.made(key, token, now=time.time())


@router.get("/keys", operation_id="list_keys", summary="List keys")
def list_all(parts: Parts) -> KeyList:
    """Every key ever created, without its secret, including those that are no longer valid."""
    with parts.database.read() as session:
        found = list_keys(session)
    now = time.time()
    return KeyList(keys=[KeyBody.of(key, now=now) for key in found])


@router.post("/keys/{key_id}/rotate", status_code=201, operation_id="rotate_key", summary="Rotate a key")
def rotate(
    parts: Parts, caller: Known, key_id: KeyId, body: Annotated[RotateKey, Body(openapi_examples=_ROTATE)]
) -> NewKeyBody:
    """Create a key with the same rights. The old one stays valid for a while, so that clients can switch over."""
    key, token = keys.rotate(parts.database, caller.who, key_id, body.overlap_seconds)
    parts.keyring.refresh(at_once=True)
    return NewKeyBody.made(key, token, now=time.time())


@router.delete("/keys/{key_id}", operation_id="revoke_key", summary="Revoke a key")
def revoke(parts: Parts, caller: Known, key_id: KeyId) -> KeyBody:
    """End a key: at once in this process, within a second in others. The last one that may do everything stays."""
    key = keys.revoke(parts.database, caller.who, key_id, others=parts.keyring.has_tokens)
    parts.keyring.refresh(at_once=True)
    return KeyBody.of(key, now=time.time())


@router.get("/audit", operation_id="list_audit", summary="List what administrators did")
def audit(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=1000, description="actions of one page")] = 100,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, description="the action behind which to go on")] = None,
) -> AuditLog:
    """What was done to keys and collections, by whom, and with what outcome; newest first."""
    with parts.database.read() as session:
        page = list_actions(session, limit=limit + 1, before=before)
    bodies = [ActionBody.of(action) for action in page[:limit]]
    return AuditLog(actions=bodies, next=bodies[-1].id if len(page) > limit else None)
