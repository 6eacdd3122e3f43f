"""What endpoints ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from app.wiring import Wiring


async def get_wiring(request: Request) -> Wiring:
    return cast(Wiring, request.app.state.wiring)


async def get_request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


Parts = Annotated[Wiring, Depends(get_wiring)]
RequestId = Annotated[str, Depends(get_request_id)]
CollectionName = Annotated[str, Path(description="the collection's name", examples=["articles"])]
