"""Liveness and readiness probes, answered outside the request queues and the shared thread pool."""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

from anyio import move_on_after, to_thread
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.access.caller import Caller
from app.api.dependencies import OperationPanel
from app.operation.readiness import Finding
from app.schemas.base import ResponseModel

HEALTH_AT_ONCE = 4  # threads for checks that read the database or the disk
_SECONDS = 3.0  # that the checks may take
router = APIRouter(tags=["health"])


class Liveness(ResponseModel):
    status: Literal["alive"] = Field("alive", description="always this")


class CheckBody(ResponseModel):
    name: str = Field(
        description="process, model, models, database, snapshots, index, disk, worker, reindexing or maintenance"
    )
    ok: bool = Field(description="false: this is a problem")
    text: str = Field(description="what was found, or what is wrong")


class Readiness(ResponseModel):
    status: Literal["ready", "not_ready"] = Field(description="not_ready with the status 503")
    problems: list[str] = Field(
        description="names of the checks that failed, for the operator as NAME: TEXT; where status is ready they "
        "concern some collections, or jobs, alone"
    )
    database: str | None = Field(None, description="ok, or what is wrong; for the operator alone")
    model: str | None = Field(None, description="the model's name, or: not loaded; for the operator alone")
    checks: list[CheckBody] = Field([], description="everything that was looked at; for the operator alone")

    @classmethod
    def of(cls, found: list[Finding], *, in_full: bool) -> Self:
        """`in_full`: with all findings, which reveal facts about the machine and all of its users."""
        status: Literal["ready", "not_ready"] = (
            "ready" if all(one.ok or not one.needed for one in found) else "not_ready"
        )
        failed = [one for one in found if not one.ok]
        if not in_full:
            return cls(status=status, problems=[one.name for one in failed])
        texts = {one.name: one.text for one in found}
        return cls(
            status=status,
            problems=[f"{one.name}: {one.text}" for one in failed],
            database=texts.get("database", "not looked at"),
            model=texts.get("model", "not looked at"),
            checks=[CheckBody(name=one.name, ok=one.ok, text=one.text) for one in found],
        )


@router.head("/livez", operation_id="livez", include_in_schema=False)
@router.get("/livez", operation_id="livez", summary="Liveness")
async def livez() -> Liveness:
    """The process answers."""
    return Liveness()


@router.head("/readyz", operation_id="readyz", include_in_schema=False)
@router.get("/readyz", operation_id="readyz", summary="Readiness", responses={503: {"model": Readiness}})
async def readyz(request: Request, panel: OperationPanel, response: Response) -> Readiness:
    """200 if everything needed for serving is there: model, database, fresh snapshots, disk, worker; otherwise 503.

    Some problems are listed without a 503: a Milvus that does not answer, as collections outside it are still served;
    a job queue that cannot be written to and maintenance that keeps failing, as searches are still answered; and a
    model other than the main one that cannot be loaded.

    As soon as the process is asked to stop, the answer is 503. The operator's keys, tokens, and everybody if there are
    neither, see all findings; others see only the names of the failed checks.
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
    caller = request.state.caller
    body = Readiness.of(found, in_full=isinstance(caller, Caller) and caller.sees_everything)
    response.status_code = 200 if body.status == "ready" else 503
    return body
