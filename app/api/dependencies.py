"""What endpoints ask for.

FastAPI takes its time for each of these, many times that of what they do: none asks for another one, and a search has
all that it needs in one piece.
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
    """What a search goes by beside its body."""

    parts: Wiring
    collection: str  # as it is stored
    request_id: str
    caller: Caller
    arrived: float  # when the request's head was there, by time.monotonic
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
Known = Annotated[Caller, Depends(get_caller)]  # who makes the request; the door has let it in


async def _stored_name(request: Request, collection: _Name) -> str:
    return (await get_caller(request)).collection(collection)


CollectionName = Annotated[str, Depends(_stored_name)]  # as it is stored; `Known.shown` says what the caller calls it
