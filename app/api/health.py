"""Is the process alive, and can it serve?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from app.api.dependencies import Parts
from app.schemas import ResponseModel
from core.errors import StorageError
from store.catalog import list_collections

router = APIRouter(tags=["health"])


class Liveness(ResponseModel):
    status: Literal["alive"] = "alive"


class Readiness(ResponseModel):
    status: Literal["ready", "not_ready"]
    database: str  # "ok", or what is wrong
    model: str  # the model's name, or "not loaded"


@router.get("/livez", operation_id="livez", summary="Liveness")
def livez() -> Liveness:
    """The process answers."""
    return Liveness()


@router.get("/readyz", operation_id="readyz", summary="Readiness", responses={503: {"model": Readiness}})
def readyz(parts: Parts, response: Response) -> Readiness:
    """The database can be read and the model is loaded; otherwise 503."""
    model = parts.encoder.name if parts.model_loaded else "not loaded"
    database = "ok"
    try:
        with parts.database.read() as session:
            list_collections(session)
    except StorageError as error:
        database = error.message
    ready = parts.model_loaded and database == "ok"
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", database=database, model=model)
