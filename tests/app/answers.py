"""What is asked over HTTP, and what every answer must be like."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

SEARCH = "/v1/collections/goods/search"


def ask(client: TestClient, path: str = SEARCH, /, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def ids(result: dict[str, Any]) -> list[str]:
    return [hit["document_id"] for hit in result["hits"]]


def error_of(response: Any, status: int) -> dict[str, Any]:
    """The error in the shape of Salience's own API."""
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "message", "param", "request_id"}
    assert error["request_id"] == response.headers["X-Request-ID"]
    return error
