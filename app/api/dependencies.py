"""What endpoints ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from app.access.caller import Caller
from app.operation.observation import Observation
from app.operation.panel import Panel
from app.wiring import Wiring


async def get_wiring(request: Request) -> Wiring:
    return cast(Wiring, request.app.state.wiring)


async def get_request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


async def get_arrival(request: Request) -> float:
    return cast(float, request.state.arrived)


async def get_panel(request: Request) -> Panel:
    return cast(Panel, request.app.state.panel)


async def get_observation(panel: Annotated[Panel, Depends(get_panel)]) -> Observation:
    return panel.observation


async def get_caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


Parts = Annotated[Wiring, Depends(get_wiring)]
RequestId = Annotated[str, Depends(get_request_id)]
Arrived = Annotated[float, Depends(get_arrival)]  # when the request's head was there, by time.monotonic
OperationPanel = Annotated[Panel, Depends(get_panel)]
Observed = Annotated[Observation, Depends(get_observation)]
Known = Annotated[Caller, Depends(get_caller)]  # who makes the request; the door has let it in


async def _stored_name(
    caller: Known, collection: Annotated[str, Path(description="the collection's name", examples=["articles"])]
) -> str:
    return caller.collection(collection)


CollectionName = Annotated[str, Depends(_stored_name)]  # as it is stored; `Known.shown` says what the caller calls it
