"""The HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import collections, documents, health, search, web
from app.auth import BearerAuth
from app.middleware import BodyLimit, RequestContext
from app.schemas import ErrorResponse
from app.wiring import Wiring

_DESCRIPTION = (
    "Semantic search that can be steered and explains its scores. Errors are `{error: {code, message, ...}}`."
)


def create_app(wiring: Wiring) -> FastAPI:
    """The application over `wiring`, which it builds when it starts and closes when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(wiring.build)
        yield
        wiring.close()

    app = FastAPI(
        title="Salience",
        version=version("salience"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere; /docs is ours
        redoc_url=None,
        responses={"4XX": {"model": ErrorResponse}, "5XX": {"model": ErrorResponse}},
    )
    app.state.wiring = wiring
    app.add_middleware(BodyLimit, limit=wiring.settings.limits.body_bytes)
    app.add_middleware(RequestContext)  # outermost: the last one added
    errors.install(app)
    app.include_router(web.router)
    for router in (collections.router, documents.router, search.router):
        app.include_router(router, dependencies=[Depends(BearerAuth(wiring.settings.auth))])
    app.include_router(health.router)
    return app
