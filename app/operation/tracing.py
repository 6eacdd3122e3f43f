"""OpenTelemetry tracing of requests and the stages of their searches, if an endpoint is configured.

Spans hold durations, counts and names, never a text. The libraries are an optional extra, imported only here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.operation.admission import HEALTH
from app.routepath import RouteTemplates, route_path
from app.settings import TracingSettings
from core.context import traced_as
from core.errors import InvalidSettings
from retriever.result import SearchResult

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_EXPORT_SECONDS = 5.0  # timeout of one export


class Tracing:
    """Creates the spans of requests and searches. Thread-safe."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("salience")
        self._format = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Span]:
        """Open the span of a request, which continues the trace named by the caller's `traceparent` header."""
        from opentelemetry.trace import SpanKind, format_trace_id

        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._format.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,  # its message may quote a text of the request
            set_status_on_exception=False,
        ) as span:
            onward: dict[str, str] = {}
            self._format.inject(onward)
            trace_id = format_trace_id(span.get_span_context().trace_id)
            with traced_as(onward.get("traceparent")), structlog.contextvars.bound_contextvars(trace_id=trace_id):
                yield span

    def searched(self, result: SearchResult) -> None:
        """Create the spans of a completed search, as children of the current span."""
        if not result.spans:
            return
        from opentelemetry.trace import set_span_in_context

        since = time.time_ns() - time.perf_counter_ns()  # offset of the stages' clock
        begun, ended = min(span.begun for span in result.spans), max(span.ended for span in result.spans)
        whole = self._tracer.start_span(
            "search",
            start_time=since + round(begun * 1e9),
            attributes={
                "salience.collection": result.collection,
                "salience.generation": result.generation.id,
                "salience.legs": [leg.value for leg in result.legs],
                "salience.k": result.query.k,
                "salience.hits": len(result.hits),
                "salience.timed_out": result.timed_out,
            },
        )
        below = set_span_in_context(whole)
        for stage, from_, to in result.spans:
            span = self._tracer.start_span(stage, context=below, start_time=since + round(from_ * 1e9))
            span.end(since + round(to * 1e9))
        whole.end(since + round(ended * 1e9))

    def close(self) -> None:
        """Export the remaining spans, for at most as long as one attempt may take."""
        self._provider.shutdown()


def start_tracing(settings: TracingSettings, version: str) -> Tracing | None:
    """Set up tracing; None without an endpoint. Raises InvalidSettings if the libraries are missing."""
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"SALIENCE_TRACING__ENDPOINT is set, and {error.name} is not installed: "
            "run pip install '.[tracing]' in a checkout of Salience, or leave the setting out",
            param="tracing.endpoint",
        ) from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": "salience", "service.version": version}),
        sampler=ParentBased(TraceIdRatioBased(settings.share)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


class Traced:
    """The outermost middleware: creates a span for each request except those to health and metrics endpoints."""

    def __init__(self, app: ASGIApp, tracing: Tracing, templates: RouteTemplates) -> None:
        self._app = app
        self._tracing = tracing
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in HEALTH:
            await self._app(scope, receive, send)
            return
        with self._tracing.request(scope) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note(span, scope, self._templates.of(scope), message["status"])
                await send(message)

            await self._app(scope, receive, noting)


def _note(span: Any, scope: Scope, route: str | None, status: int) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.response.status_code", status)
    span.set_attribute("salience.request_id", scope.get("state", {}).get("request_id", ""))
    if route is not None:
        span.set_attribute("http.route", route)
        span.update_name(f"{scope['method']} {route}")
    if status >= 500:
        span.set_status(StatusCode.ERROR)
