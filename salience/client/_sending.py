"""The httpx code that both clients share: converts calls to requests, and responses or exceptions to outcomes."""

from __future__ import annotations

from typing import Any

import httpx

from salience.client._attempts import NoAnswer
from salience.client._calls import Answer, Call, header_value
from salience.client._json import encoded
from salience.client.errors import ConnectionFailed, TimedOut, UnexpectedAnswer

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
LONGEST_CONNECT = 10.0  # seconds
LONGEST_TIMEOUT = 1e9  # seconds; larger values overflow in the operating system
LONGEST_URL = 65_536  # characters; httpx refuses longer ones


def settings(address: str, key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of an httpx client. Raises ValueError for an invalid address, key or timeout."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ValueError(f"{address!r:.200} is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{address!r:.200} is no address; one is such as http://localhost:8080")
    if url.query or url.fragment:
        raise ValueError("an address has no query and no fragment; one is such as http://localhost:8080")
    if url.userinfo and key is not None:  # httpx would send the name and password instead of the key
        raise ValueError("give an API key, or a name and password in the address, and not both")
    headers = {"User-Agent": "salience-client", "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {header_value(key, 'the API key')}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": _timeout(timeout),
    }


def request(call: Call[Any], *, content: Any) -> dict[str, Any]:
    """The arguments of an httpx request. `content`: the call's stream, sync or async; None: there is none.

    Raises ValueError for a body that is not valid JSON, with the place, and for an invalid timeout.
    """
    given: dict[str, Any] = {
        "params": {name: _text(value) for name, value in call.params.items() if value is not None},
        "headers": dict(call.headers),
    }
    if call.timeout is not None:
        given["timeout"] = _timeout(call.timeout)
    if content is not None:
        given["content"] = content
    elif call.body is not None:
        given["content"] = encoded(call.body, "the request")
        given["headers"]["Content-Type"] = "application/json"
    return given


def answer(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=headers, content=response.content)


def no_answer(call: Call[Any], error: httpx.RequestError | httpx.InvalidURL) -> NoAnswer:
    """The outcome of a call that failed without an answer.

    Raises ValueError if the address is too long, `error` itself if the source of the documents raised it, and
    UnexpectedAnswer if the answer cannot be read.
    """
    if isinstance(error, httpx.InvalidURL):
        raise ValueError(
            f"{call.method} {call.path:.200}: {error}; what goes in the address, such as an id and the filter of a "
            f"listing, has {LONGEST_URL:,} characters at most"
        ) from error
    if call.stream is not None and call.stream.error is error:
        raise error
    if not isinstance(error, httpx.TransportError):
        raise UnexpectedAnswer(f"{call.method} {call.path}: the answer cannot be read: {error}") from error
    kind = TimedOut if isinstance(error, httpx.TimeoutException) else ConnectionFailed
    what = str(error) or type(error).__name__
    sent = not isinstance(error, NOT_SENT)
    url = error.request.url
    hint = "" if sent else f"; does a server listen at {url.scheme}://{url.netloc.decode()}?"
    unknown = "" if call.repeatable else "the server may have done it, or still be at work"
    if sent and kind is TimedOut and (advice := call.after_timeout or unknown):
        hint = f"; {advice}"
    failed = kind(f"{call.method} {call.path}: {what}{hint}")
    failed.__cause__ = error
    return NoAnswer(error=failed, sent=sent)


def _timeout(seconds: Any) -> httpx.Timeout:
    """The timeout for httpx. Raises ValueError for an invalid one."""
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 < seconds <= LONGEST_TIMEOUT:
        raise ValueError(f"timeout is {seconds!r:.40}: it must be a number of seconds above 0, 1e9 at most")
    return httpx.Timeout(seconds, connect=min(seconds, LONGEST_CONNECT))


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
