"""What both clients make of httpx: one request out of a call, one outcome out of what came of it."""

from __future__ import annotations

from typing import Any

import httpx

from salience.client._attempts import NoAnswer
from salience.client._calls import Answer, Call, header_value
from salience.client._json import encoded
from salience.client.errors import ConnectionFailed, TimedOut, UnexpectedAnswer

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
LONGEST_CONNECT = 10.0  # seconds


def settings(address: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What an httpx client is built with. Raises ValueError for an address that is none, or a key."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ValueError(f"{address!r:.200} is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{address!r:.200} is no address; one is such as http://localhost:8080")
    headers = {"User-Agent": "salience-client", "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {header_value(key, 'the API key')}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, LONGEST_CONNECT)),
    }


def request(call: Call[Any], *, content: Any) -> dict[str, Any]:
    """What httpx is called with. `content`: the call's stream, as the client at hand takes it; None: there is none.

    Raises ValueError for a body that is no JSON, and says where.
    """
    given: dict[str, Any] = {
        "params": {name: _text(value) for name, value in call.params.items() if value is not None},
        "headers": dict(call.headers),
    }
    if content is not None:
        given["content"] = content
    elif call.body is not None:
        given["content"] = encoded(call.body, "the request")
        given["headers"]["Content-Type"] = "application/json"
    return given


def answer(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=headers, content=response.content)


def no_answer(call: Call[Any], error: httpx.RequestError) -> NoAnswer:
    """Raises `error` itself where it is one of the documents that were to be sent, and UnexpectedAnswer."""
    if call.stream is not None and call.stream.error is error:
        raise error
    if not isinstance(error, httpx.TransportError):
        raise UnexpectedAnswer(f"{call.method} {call.path}: the answer cannot be read: {error}") from error
    kind = TimedOut if isinstance(error, httpx.TimeoutException) else ConnectionFailed
    what = str(error) or type(error).__name__
    sent = not isinstance(error, NOT_SENT)
    url = error.request.url
    hint = "" if sent else f"; does a server listen at {url.scheme}://{url.netloc.decode()}?"
    failed = kind(f"{call.method} {call.path}: {what}{hint}")
    failed.__cause__ = error
    return NoAnswer(error=failed, sent=sent)


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
