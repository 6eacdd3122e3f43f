"""Which answers are compressed: the large ones of searches, for clients elsewhere that take gzip."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.compression import LEAST_BYTES, Compressed

LARGE = b'{"hits": []}' * LEAST_BYTES
SEARCH = "/v1/collections/goods/search"


def answered(
    *parts: bytes, path: str = SEARCH, client: tuple[str, int] | None = ("192.0.2.7", 50000), accepted: str = "gzip, br"
) -> tuple[dict[str, str], bytes]:
    """Headers and body as they are sent of an answer that the application gives in these parts."""
    sent: list[Message] = []
    requested: Scope = {
        "type": "http",
        "path": path,
        "client": client,
        "headers": [(b"accept-encoding", accepted.encode())],
    }

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for place, part in enumerate(parts, start=1):
            await send({"type": "http.response.body", "body": part, "more_body": place < len(parts)})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Compressed(application)(requested, receive, send))
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return headers, b"".join(message["body"] for message in sent[1:])


def test_a_large_answer_of_a_search_is_compressed_the_same_each_time() -> None:
    headers, body = answered(LARGE)
    assert headers == {"content-encoding": "gzip", "content-length": str(len(body)), "vary": "Accept-Encoding"}
    assert gzip.decompress(body) == LARGE
    assert len(body) < len(LARGE) / 4
    assert answered(LARGE) == (headers, body)
    assert answered(LARGE, path="/v1/collections/goods/explain", accepted="GZIP;q=0.5")[1] == body


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "br, gzip; q=0.0, deflate", "xgzipped"])
def test_a_client_that_takes_no_gzip_gets_none(accepted: str) -> None:
    assert answered(LARGE, accepted=accepted) == ({"content-length": str(len(LARGE))}, LARGE)


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("127.8.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1), None])
def test_on_this_machine_bytes_cost_less_than_the_time(client: tuple[str, int] | None) -> None:
    assert answered(LARGE, client=client)[1] == LARGE


def test_all_other_answers_go_as_they_are() -> None:
    small = LARGE[: LEAST_BYTES - 1]
    assert answered(small) == ({"content-length": str(len(small))}, small)
    assert answered(LARGE, LARGE)[1] == LARGE + LARGE, "in parts"
    for path in ("/v1/collections/goods/documents", "/v1/collections/goods/search:batch", "/explain", "/metrics"):
        assert answered(LARGE, path=path)[1] == LARGE
