"""Creates the HTTP application: its routes, middlewares, background threads and shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors
from app.access.door import Callers, Door, Identify, check_rules
from app.api import (
    aleph_alpha,
    aliases,
    bulk,
    collections,
    documents,
    health,
    jobs,
    keys,
    metrics,
    openai,
    reindex,
    replay,
    search,
    vikingdb,
    web,
)
from app.api.health import HEALTH_AT_ONCE
from app.api.uploads import UPLOADS_AT_ONCE
from app.compression import Compressed
from app.middleware import BodyLimit, RequestContext
from app.operation.admission import Admission
from app.operation.panel import Panel
from app.operation.tracing import Traced
from app.refusals import Refusals
from app.routepath import RouteTemplates
from app.schemas.base import ErrorResponse
from app.settings import LimitSettings
from app.wiring import Wiring
from store.kernel_loading import expect_many_searches

_DESCRIPTION = (
    "Semantic search that can be steered and explains its scores. Errors are `{error: {code, message, ...}}`. Fields "
    "and query parameters that are not described are refused; every operation under /v1 takes `nice=true`, too: it is "
    "then served after all others. `/v1/embeddings`, `/v1/models` and `/v1/rerank` are those of other services' APIs, "
    "and not described here."
)


WORKER_STOP_SECONDS = 30  # for the worker and reindexing threads together to end; a job's lease expires after that
_SPARE_THREADS = 4  # in addition to those of requests that have a place in a lane


def create_app(wiring: Wiring, *, worker: bool = True, connections: Callable[[], int] = lambda: 0) -> FastAPI:
    """Create the application over `wiring`, which it builds when it starts and closes when it stops.

    `worker`: also process jobs and reindexes, in threads; without it, `salience worker` does. `connections`: returns
    how many connections the server has open. Raises InvalidSettings if tracing is configured but its libraries are
    missing.
    """
    panel = Panel(wiring, connections)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(wiring.build)
        wiring.viking.announce()
        expect_many_searches()
        app.state.uploads = CapacityLimiter(UPLOADS_AT_ONCE)
        app.state.health = CapacityLimiter(HEALTH_AT_ONCE)
        current_default_thread_limiter().total_tokens = panel.threads + _SPARE_THREADS
        with (
            wiring.maintenance.running(),
            panel.running(),
            wiring.keyring.noting(),
            wiring.preloader.watched(),
            wiring.letting_go(),
        ):
            stop = _start_worker(wiring, panel) if worker else wiring.worker.stop
            yield
            panel.readiness.stop()
            await run_in_threadpool(stop)
        wiring.close()

    app = FastAPI(
        title="Salience",
        version=version("salience"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # served by app/api/web.py: FastAPI would block the event loop for a second to build it
        docs_url=None,  # /docs is ours: FastAPI's own page loads its scripts from another site
        redoc_url=None,
        redirect_slashes=False,  # they keep the method: DELETE .../documents/.., normalized by a client, deletes more
        responses={"4XX": {"model": ErrorResponse}, "5XX": {"model": ErrorResponse}},
    )
    app.state.wiring = wiring
    app.state.panel = panel
    limit, by_path = wiring.settings.limits.body_bytes, _body_limits(wiring.settings.limits)
    callers = Callers(lambda: wiring.keyring, lambda: wiring.signatures, signed=vikingdb.PATHS)
    templates = RouteTemplates(lambda: app.routes)
    app.state.refusals = Refusals(panel, callers, lambda: wiring.limiter, templates, limit=limit, by_path=by_path)
    # Innermost: a request that is refused for its credentials or for the size of its body takes no place.
    app.add_middleware(Admission, lanes=panel.lanes, answer=errors.answered)
    app.add_middleware(Compressed)
    app.add_middleware(BodyLimit, limit=limit, by_path=by_path)
    app.add_middleware(Identify, callers=callers, limiter=lambda: wiring.limiter)
    app.add_middleware(RequestContext, answered=panel.metrics.answered, templates=templates)
    if panel.tracing is not None:
        app.add_middleware(Traced, tracing=panel.tracing, templates=templates)  # outermost: the last one added
    errors.install(app)
    door = [Depends(Door(lambda: wiring.limiter))]
    ours = (collections.router, bulk.router, documents.router, jobs.router, search.router, replay.router, keys.router)
    admin = (reindex.listing, reindex.router, aliases.router)
    for router in (*ours, *admin, aleph_alpha.router, openai.router, vikingdb.router):
        app.include_router(router, dependencies=door)
    for router in (web.router, health.router):
        app.include_router(router)
    public = wiring.settings.metrics.public
    app.include_router(metrics.router, dependencies=[] if public else door)
    check_rules(app, public=("metrics.*",) if public else ())
    return app


def _start_worker(wiring: Wiring, panel: Panel) -> Callable[[], None]:
    """Process jobs and reindexes in threads; the returned function stops them after their current batches."""
    worker, reindexing = wiring.worker, wiring.reindexing
    thread = threading.Thread(target=worker.run, name="worker", daemon=True)
    thread.start()
    beside = threading.Thread(target=reindexing.run, name="reindexing", daemon=True)
    beside.start()
    panel.readiness.expect(worker=thread, reindexing=beside)

    def stop() -> None:
        worker.stop()
        reindexing.stop()
        until = time.monotonic() + WORKER_STOP_SECONDS
        for working in (thread, beside):
            working.join(max(0.0, until - time.monotonic()))

    return stop


def _body_limits(limits: LimitSettings) -> dict[str, int]:
    """Return the largest body in bytes by path, for the compatible APIs, which have limits of their own."""
    return {
        **dict.fromkeys((*aleph_alpha.PATHS, *openai.PATHS), limits.prompt_bytes),
        **dict.fromkeys(vikingdb.PATHS, vikingdb.MAX_BODY_BYTES),
    }
