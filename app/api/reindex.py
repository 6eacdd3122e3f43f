"""Endpoints for reindexing: list, start, status, switch, roll back, cancel, clean up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body

from app import reindexes
from app.access.allowances import spend_reindex
from app.access.auditing import audited
from app.access.caller import Caller
from app.api.dependencies import CollectionName, Known, Parts
from app.api.links import REINDEX_BEGUN
from app.schemas.reindexes import ReindexBody, ReindexList, ReindexRequest
from app.wiring import Wiring
from core.reindexes import Reindex

router = APIRouter(prefix="/v1/admin/collections/{collection}/reindex", tags=["admin"])
listing = APIRouter(prefix="/v1/admin/reindexes", tags=["admin"])

_BEGIN = {
    "judged": {
        "summary": "Shorter passages, at a fifth of the time, unless it is worse by two judged queries",
        "value": {
            "settings": {"passage_tokens": 128},
            "share": 0.2,
            "judgements": {
                "queries": {"q1": "a radio for the kitchen", "q2": "games on TV"},
                "qrels": {"q1": {"radio-1": 1}, "q2": {"c1": 2, "t1": 1}},
            },
            "min_gain": 0.0,
        },
    },
}


@listing.get("", operation_id="list_reindexes", summary="List reindexes")
def list_all(parts: Parts, caller: Known) -> ReindexList:
    """The newest reindex of each collection that ever had one, running or finished.

    Deleted collections are left out.
    """
    with parts.database.read() as session:
        found = reindexes.look_at_all(session, among=caller.among)
    return ReindexList(
        reindexes=[ReindexBody.of(caller.shown_work(reindex), waiting=waiting) for reindex, waiting in found]
    )


@router.post(
    "",
    status_code=202,
    responses={202: REINDEX_BEGUN},
    operation_id="start_reindex",
    summary="Reindex a collection",
)
def start(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    body: Annotated[ReindexRequest, Body(openapi_examples=_BEGIN)],
) -> ReindexBody:
    """Build a new generation of the collection alongside the present one: another model, splitting, analysis or index.

    Meanwhile searches and writes go on as before, and every search is answered by a single generation. Any server or
    worker on the data directory does the work.
    """
    with audited(parts.database, caller.who, "reindex.start", collection):
        begun = reindexes.begin(parts, collection, body)
    spend_reindex(parts, caller, collection)
    return _body(parts, caller, collection, begun)


@router.get("", operation_id="get_reindex", summary="How far a reindex is")
def get(parts: Parts, caller: Known, collection: CollectionName) -> ReindexBody:
    """The newest reindex of the collection: its state, progress, time left, and the result of the comparison."""
    return _body(parts, caller, collection)


@router.post("/switch", operation_id="switch_reindex", summary="Let the new generation answer")
def switch(parts: Parts, caller: Known, collection: CollectionName) -> ReindexBody:
    """The reindex must be ready. Writers wait for a moment, and no search fails."""
    return _done(parts, caller, collection, "reindex.switch", reindexes.switch)


@router.post("/rollback", operation_id="rollback_reindex", summary="Let the old generation answer again")
def rollback(parts: Parts, caller: Known, collection: CollectionName) -> ReindexBody:
    """Possible as long as the old generation is kept. It has everything that was written since the switch."""
    return _done(parts, caller, collection, "reindex.rollback", reindexes.rollback)


@router.post("/cancel", operation_id="cancel_reindex", summary="Cancel a reindex")
def cancel(parts: Parts, caller: Known, collection: CollectionName) -> ReindexBody:
    """The collection stays as it is; the unfinished new generation is removed."""
    return _done(parts, caller, collection, "reindex.cancel", reindexes.cancel)


@router.post("/cleanup", operation_id="clean_up_reindex", summary="Remove the old generation")
def clean_up(parts: Parts, caller: Known, collection: CollectionName) -> ReindexBody:
    """Without waiting for the end of its grace period. No rollback is possible afterwards."""
    return _done(parts, caller, collection, "reindex.cleanup", reindexes.clean_up)


def _done(
    parts: Wiring, caller: Caller, collection: str, action: str, do: Callable[[Wiring, str], Reindex]
) -> ReindexBody:
    with audited(parts.database, caller.who, action, collection):
        changed = do(parts, collection)
    return _body(parts, caller, collection, changed)


def _body(parts: Wiring, caller: Caller, collection: str, changed: Reindex | None = None) -> ReindexBody:
    with parts.database.read() as session:
        found, waiting = reindexes.look(session, collection)
    return ReindexBody.of(caller.shown_work(changed or found), waiting=waiting)
