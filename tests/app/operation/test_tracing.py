"""Spans of requests and searches, and the traces that they belong to."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from app.operation import panel
from app.operation.tracing import Tracing
from core.context import traced_as
from embedder.remote.config import RemoteConfig
from embedder.remote.loading import load_remote
from embedder.remote.transport import Call
from embedder.remote.wire import WireRequest

SEARCH = "/v1/collections/goods/search"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(panel, "start_tracing", lambda settings, version: Tracing(provider))
    yield exporter
    provider.shutdown()


def named(found: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    [one] = [span for span in found if span.name == name]
    return one


def test_a_mount_is_no_route(spans: InMemorySpanExporter, client: TestClient) -> None:
    mounted = TestClient(Starlette(routes=[Mount("/below", client.app)]))
    spans.clear()
    assert mounted.get("/below/nothing").status_code == 404
    assert mounted.get("/below/v1/collections/none").status_code == 404
    [unknown, known] = spans.get_finished_spans()
    assert (unknown.name, known.name) == ("GET", "GET /v1/collections/{collection}")
    assert "http.route" not in (unknown.attributes or {})


def test_a_search_has_spans_below_its_request(spans: InMemorySpanExporter, client: TestClient) -> None:
    spans.clear()
    body = {"query": "secretword games", "explain": "words"}
    response = client.post(SEARCH, json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    found = spans.get_finished_spans()
    request = named(found, "POST /v1/collections/{collection}/search")
    search = named(found, "search")
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert request.kind is SpanKind.SERVER
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["salience.request_id"] == response.headers["X-Request-ID"]
    assert search.parent is not None
    assert search.parent.span_id == request.context.span_id
    stages = [span for span in found if span not in (request, search)]
    assert {span.name for span in stages} == set(response.json()["took_ms"])
    for span in stages:
        assert span.parent is not None
        assert search.context is not None
        assert span.parent.span_id == search.context.span_id
        assert (request.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (request.end_time or 0)
    assert not [span for span in found if "secretword" in span.to_json()]


def test_an_error_is_a_span_without_its_message(spans: InMemorySpanExporter, client: TestClient) -> None:
    spans.clear()
    client.post("/v1/collections/secretname/search", json={"query": "secretword"})
    client.get("/livez")
    [found] = spans.get_finished_spans()
    assert found.attributes is not None
    assert found.attributes["http.response.status_code"] == 404
    assert found.status.status_code is StatusCode.UNSET
    assert "secret" not in found.to_json()


def test_requests_to_remote_models_carry_the_trace_on() -> None:
    sent: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers)
        return httpx.Response(500)

    config = RemoteConfig(api="openai", url="http://127.0.0.1:9/v1", model="m", token="t", deadline_seconds=0.2)
    transport = load_remote(config, "m")._transport
    transport._client = httpx.Client(transport=httpx.MockTransport(answer))
    request = WireRequest(url="http://127.0.0.1:9/v1/embeddings", body=b"{}", texts=())
    call = Call(ends_at=float("inf"), stop=threading.Event())
    with traced_as(f"00-{TRACE}-{PARENT}-01"):
        transport._send(request, call)
    transport._send(request, call)
    assert [headers.get("traceparent") for headers in sent] == [f"00-{TRACE}-{PARENT}-01", None]


def test_missing_libraries_are_said_with_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"
        "sys.modules['opentelemetry.exporter'] = None\n"
        "from app.operation.tracing import start_tracing\nfrom app.settings import TracingSettings\n"
        "from core.errors import InvalidSettings\n"
        "try:\n    start_tracing(TracingSettings(endpoint='http://localhost:1/v1/traces'), '1')\n"
        "except InvalidSettings as error:\n    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, encoding="utf-8")
    assert "run pip install '.[tracing]' in a checkout of Salience" in done.stdout


class Collector(ThreadingHTTPServer):
    """Takes spans, and says nothing until it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked, self.speaks = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), Export)


class Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.speaks.wait(60)
        self.send_response_only(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def test_a_collector_that_never_answers_holds_nobody_up(
    collector: Collector, make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.operation.tracing._EXPORT_SECONDS", 30.0)  # that sending a single span takes here
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")  # ms: the first span is sent at once
    client = make_client(tracing={"endpoint": f"http://127.0.0.1:{collector.server_port}/v1/traces"})
    began = time.monotonic()
    assert client.get("/v1/collections").status_code == 200
    assert collector.asked.wait(60)
    for _ in range(5):
        assert client.get("/v1/collections").status_code == 200
    assert time.monotonic() - began < 20
    collector.speaks.set()  # or shutting down waits for it
