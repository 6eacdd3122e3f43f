"""The FastAPI dependencies of the endpoints.

FastAPI's overhead for a dependency is many times the cost of what it does. So no dependency has dependencies of its
own, and a search gets everything it needs from a single one.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, cast

from fastapi import Depends, Path, Request

from app.access.caller import Caller
from app.operation.observation import Observation
from app.operation.panel import Panel
from app.wiring import Wiring


async def get_wiring(request: Request) -> Wiring:
    return cast(Wiring, request.app.state.wiring)


async def get_request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


async def get_panel(request: Request) -> Panel:
    return cast(Panel, request.app.state.panel)


async def get_caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


class SearchContext(NamedTuple):
    """Everything that a search needs besides its body."""

    parts: Wiring
    collection: str  # its stored name
    request_id: str
    caller: Caller
    arrived: float  # when the request's head had arrived, by time.monotonic
    observed: Observation


_Name = Annotated[str, Path(description="the collection's name", examples=["articles"])]


async def get_search_context(request: Request, collection: _Name) -> SearchContext:
    caller = await get_caller(request)
    return SearchContext(
        parts=await get_wiring(request),
        collection=caller.collection(collection),
        request_id=await get_request_id(request),
        caller=caller,
        arrived=cast(float, request.state.arrived),
        observed=(await get_panel(request)).observation,
    )


Parts = Annotated[Wiring, Depends(get_wiring)]
RequestId = Annotated[str, Depends(get_request_id)]
OperationPanel = Annotated[Panel, Depends(get_panel)]
Search = Annotated[SearchContext, Depends(get_search_context)]
Known = Annotated[Caller, Depends(get_caller)]  # who makes the request; access was checked before


async def _stored_name(request: Request, collection: _Name) -> str:
    return (await get_caller(request)).collection(collection)


CollectionName = Annotated[str, Depends(_stored_name)]  # the stored name; `Known.shown` gives the caller's name for it
