"""Is the process alive, and can it serve? Answered without a place in the queues and without a thread of the pool."""

from __future__ import annotations

from functools import partial
from typing import Literal

from anyio import move_on_after, to_thread
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api.dependencies import OperationPanel
from app.operation.readiness import Finding
from app.schemas.base import ResponseModel

HEALTH_AT_ONCE = 4  # threads for what reads the database or the disk
_SECONDS = 3.0  # for which an answer is waited for
router = APIRouter(tags=["health"])


class Liveness(ResponseModel):
    status: Literal["alive"] = Field("alive", description="always this")


class CheckBody(ResponseModel):
    name: str = Field(description="process, model, database, snapshots, index, disk, worker, reindexing or maintenance")
    ok: bool = Field(description="false: this is a problem")
    text: str = Field(description="what was found, or what is wrong")


class Readiness(ResponseModel):
    status: Literal["ready", "not_ready"] = Field(description="not_ready with the status 503")
    database: str = Field(description="ok, or what is wrong")
    model: str = Field(description="the model's name, or: not loaded")
    problems: list[str] = Field(
        description="what is wrong, as NAME: TEXT; where status is ready it concerns some collections alone"
    )
    checks: list[CheckBody] = Field(description="everything that was looked at")


@router.get("/livez", operation_id="livez", summary="Liveness")
async def livez() -> Liveness:
    """The process answers."""
    return Liveness()


@router.get("/readyz", operation_id="readyz", summary="Readiness", responses={503: {"model": Readiness}})
async def readyz(request: Request, panel: OperationPanel, response: Response) -> Readiness:
    """Everything that serving needs is there: model, database, fresh snapshots, disk, worker; otherwise 503.

    A Milvus that does not answer is a problem, but no 503: collections that it does not hold are served.

    As soon as the process is told to stop, the answer is 503.
    """
    readiness, found = panel.readiness, list[Finding]()
    if readiness.stopping:
        found = [Finding(name="process", ok=False, text="stopping")]
    else:
        look = partial(to_thread.run_sync, readiness.findings, limiter=request.app.state.health)
        with move_on_after(_SECONDS):
            found = await look(abandon_on_cancel=True)
        if not found:
            found = [Finding(name="process", ok=False, text=f"the checks did not end within {_SECONDS:g} s")]
    ready = all(one.ok or not one.needed for one in found)
    response.status_code = 200 if ready else 503
    texts = {one.name: one.text for one in found}
    return Readiness(
        status="ready" if ready else "not_ready",
        database=texts.get("database", "not looked at"),
        model=texts.get("model", "not looked at"),
        problems=[f"{one.name}: {one.text}" for one in found if not one.ok],
        checks=[CheckBody(name=one.name, ok=one.ok, text=one.text) for one in found],
    )
