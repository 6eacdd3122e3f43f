"""The /metrics endpoint, for Prometheus."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.dependencies import OperationPanel

router = APIRouter(include_in_schema=False)  # its format is Prometheus' own; see docs/operate.md


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request, panel: OperationPanel) -> Response:
    """The metrics of all processes of this server. Uses the threads of the health checks, not the shared pool."""
    text = await to_thread.run_sync(panel.scrape.text, limiter=request.app.state.health)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
