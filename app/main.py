"""The HTTP application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import aleph_alpha, bulk, collections, documents, health, jobs, openai, replay, search, vikingdb, web
from app.api.aleph_alpha.bodies import NICE_AT_ONCE
from app.api.uploads import UPLOADS_AT_ONCE
from app.auth import BearerAuth
from app.middleware import BodyLimit, RequestContext
from app.schemas import ErrorResponse
from app.settings import LimitSettings
from app.wiring import Wiring
from store.kernel_loading import expect_many_searches

_DESCRIPTION = (
    "Semantic search that can be steered and explains its scores. Errors are `{error: {code, message, ...}}`."
)


WORKER_STOP_SECONDS = 30  # for the batch at hand; after that its lease runs out


def create_app(wiring: Wiring, *, worker: bool = True) -> FastAPI:
    """The application over `wiring`, which it builds when it starts and closes when it stops.

    `worker`: serve the jobs, too, in a thread. Without it `salience worker` does.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(wiring.build)
        wiring.viking.announce()
        expect_many_searches()
        app.state.uploads = CapacityLimiter(UPLOADS_AT_ONCE)
        app.state.nice = CapacityLimiter(NICE_AT_ONCE)
        with wiring.maintenance.running():
            stop = _start_worker(wiring) if worker else wiring.worker.stop
            yield
            await run_in_threadpool(stop)
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
    limits = wiring.settings.limits
    app.add_middleware(BodyLimit, limit=limits.body_bytes, by_path=_body_limits(limits))
    app.add_middleware(RequestContext)  # outermost: the last one added
    errors.install(app)
    app.include_router(web.router)
    ours = (collections.router, bulk.router, documents.router, jobs.router, search.router, replay.router)
    for router in (*ours, aleph_alpha.router, openai.router):
        app.include_router(router, dependencies=[Depends(BearerAuth(wiring.settings.auth))])
    app.include_router(vikingdb.router)  # requests are signed there
    app.include_router(health.router)
    return app


def _start_worker(wiring: Wiring) -> Callable[[], None]:
    """Serve the jobs in a thread; what is returned ends that after the batch at hand."""
    worker = wiring.worker
    thread = threading.Thread(target=worker.run, name="worker", daemon=True)
    thread.start()

    def stop() -> None:
        worker.stop()
        thread.join(WORKER_STOP_SECONDS)

    return stop


def _body_limits(limits: LimitSettings) -> dict[str, int]:
    """Bytes of a body, by path, where the public APIs allow other ones than ours."""
    return {
        **dict.fromkeys((*aleph_alpha.PATHS, *openai.PATHS), limits.prompt_bytes),
        **dict.fromkeys(vikingdb.PATHS, vikingdb.MAX_BODY_BYTES),
    }
