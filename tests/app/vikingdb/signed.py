"""Requests as the VikingDB SDK signs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
from starlette.testclient import TestClient

from core.signing import SignableRequest, signed_headers

PING = "/api/viking_db/data/ping"
EMBEDDING = "/api/data/embedding/version/2"
ACCESS_KEY, SECRET_KEY = "AKEXAMPLE", "SKEXAMPLE"
HOST = "testserver"  # what starlette's client sends


def request_of(name: str, *texts: str, **params: bool) -> dict[str, Any]:
    """The body of an embedding request."""
    return {
        "model": {"model_name": name, "params": params or None},
        "data": [{"data_type": "text", "text": text} for text in texts],
    }


def send(
    client: TestClient, body: Any = None, *, path: str = EMBEDDING, method: str = "POST", **headers: str
) -> httpx2.Response:
    """The body as JSON, unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.request(method, path, content=content, headers={"Content-Type": "application/json", **headers})


def signature(
    body: bytes,
    *,
    path: str = EMBEDDING,
    method: str = "POST",
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    host: str = HOST,
    region: str = "cn-north-1",
    service: str = "air",
    query: tuple[tuple[str, str], ...] = (),
    now: datetime | None = None,
) -> dict[str, str]:
    """The three headers that sign a request."""
    request = SignableRequest(
        method=method, path=path, query=query, body=body, headers={"host": host, "content-type": "application/json"}
    )
    return signed_headers(
        request,
        access_key=access_key,
        secret_key=secret_key,
        region=region,
        service=service,
        now=now or datetime.now(UTC),
    )


def error_of(response: httpx2.Response, status: int, code: int) -> str:
    """The message of an error that is as the API has it."""
    assert response.status_code == status, response.text
    answer = response.json()
    assert set(answer) == {"code", "message", "request_id"}
    assert answer["code"] == code
    assert answer["request_id"] == response.headers["X-Request-ID"]
    return str(answer["message"])
