"""What is tried again, how often, and after how long; and what is not. The network is played, for it has to fail."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from salience.client import Retries, errors
from tests.salience.client.conftest import Face, Network, refusal

JOB = {
    **dict.fromkeys(("total", "pending", "failed", "created", "replaced", "updated", "unchanged", "duplicates"), 0),
    **dict.fromkeys(("truncated", "passages", "tokens", "seq", "attempts"), 0),
    "id": 1,
    "collection": "c",
    "state": "queued",
    "created_at": "2026-01-01T00:00:00Z",
}
READY: dict[str, list[object]] = {"collections": []}


def test_what_is_refused_for_now_is_tried_again(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(
        refusal(429, "queue_full", "1"),
        refusal(503, "storage_busy", "2"),
        refusal(409, "job_conflict", "1.5"),
        httpx.Response(200, json=READY),
    )
    client = over(network, retries=Retries(tries=4, base_seconds=0.5, longest_seconds=10))
    assert client.list_collections() == ()
    assert len(network.requests) == 4
    for waited, asked, jitter in zip(waits, (1, 2, 1.5), (0.5, 1, 2), strict=True):
        assert asked <= waited <= asked + jitter


def test_a_moment_is_waited_for_too(over: Callable[..., Face], waits: list[float]) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    network = Network(refusal(503, "storage_busy", moment), httpx.Response(200, json=READY))
    over(network, retries=Retries(longest_seconds=60)).list_collections()
    assert 17 < waits[0] <= 21


def test_pauses_grow_with_jitter_up_to_the_longest(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(httpx.ConnectError("refused"))
    client = over(network, retries=Retries(tries=12, base_seconds=0.25, longest_seconds=4))
    for _ in range(20):
        with pytest.raises(
            errors.ConnectionFailed, match="GET /v1/collections: refused; does a server listen at http://"
        ):
            client.list_collections()
    rounds = [waits[i : i + 11] for i in range(0, len(waits), 11)]
    assert len(rounds) == 20
    for number, pauses in enumerate(zip(*rounds, strict=True)):
        bound = min(4.0, 0.25 * 2**number)
        assert all(0 <= pause <= bound for pause in pauses)
        assert max(pauses) > bound / 2  # of 20: fails once in a million times
        assert len(set(pauses)) > 1


def test_what_has_no_chance_is_not_tried_again(over: Callable[..., Face], waits: list[float]) -> None:
    for line, error in (
        (refusal(400, "invalid_query"), errors.InvalidQuery),
        (refusal(401, "unauthorized"), errors.Unauthorized),
        (refusal(403, "forbidden"), errors.Forbidden),
        (refusal(409, "collection_exists"), errors.CollectionExists),
        (refusal(429, "quota_exceeded"), errors.RateLimited),  # without Retry-After: it never fits
        (refusal(500, "internal"), errors.ServerFailed),
        (refusal(503, "schema_too_new"), errors.Unavailable),
        (refusal(503, "storage_busy", "3600"), errors.Unavailable),  # longer than this client waits
        (httpx.ReadTimeout("slow"), errors.TimedOut),  # the server may still be at work
        (httpx.Response(200, content=b"<html>"), errors.UnexpectedAnswer),
        (httpx.DecodingError("not gzip"), errors.UnexpectedAnswer),
        (httpx.Response(200, json={"other": 1}), errors.UnexpectedAnswer),
    ):
        network = Network(line)
        with pytest.raises(error):
            over(network).list_collections()
        assert len(network.requests) == 1, line
    assert waits == []


def test_an_answer_from_elsewhere_is_never_taken_for_done(over: Callable[..., Face], waits: list[float]) -> None:
    calls: list[Callable[[Face], Any]] = [
        lambda client: client.delete_document("c", "d"),
        lambda client: client.delete_collection("c"),
        lambda client: client.delete_alias("a"),
        lambda client: client.job_errors(1),
        lambda client: client.search("c", "q"),
    ]
    for call in calls:
        moved = Network(httpx.Response(301, headers={"Location": "https://elsewhere/v1"}))
        with pytest.raises(errors.UnexpectedAnswer, match="https://elsewhere/v1"):
            call(over(moved))
        login = Network(httpx.Response(200, content=b"<html>who are you?</html>"))
        with pytest.raises(errors.UnexpectedAnswer):
            call(over(login))
        assert (len(moved.requests), len(login.requests)) == (1, 1)


def test_a_proxy_that_does_not_say_when_is_asked_again_where_that_is_safe(
    over: Callable[..., Face], waits: list[float]
) -> None:
    for status in (429, 503):
        network = Network(httpx.Response(status, content=b"<html>busy</html>"), httpx.Response(200, json=READY))
        over(network).list_collections()
        assert len(network.requests) == 2
        network = Network(httpx.Response(status, content=b"<html>busy</html>"))
        with pytest.raises(errors.RequestFailed, match="does not come from Salience"):
            over(network).create_collection("a")
        assert len(network.requests) == 1


def test_what_may_have_been_served_is_only_repeated_where_that_does_no_harm(
    over: Callable[..., Face], waits: list[float]
) -> None:
    lost = httpx.RemoteProtocolError("Server disconnected without sending a response.")
    safe: list[Callable[[Face], Any]] = [
        lambda client: client.search("c", "q"),
        lambda client: client.get_document("c", "d"),
        lambda client: client.put_document("c", "d", "text"),
        lambda client: client.add_documents("c", [{"id": "d", "text": "text"}]),
        lambda client: client.add_bulk("c", [{"id": "d", "text": "text"}]),
        lambda client: client.embed(["text"]),
    ]
    unsafe: list[Callable[[Face], Any]] = [
        lambda client: client.create_collection("c"),
        lambda client: client.delete_collection("c"),
        lambda client: client.delete_document("c", "d"),
        lambda client: client.delete_documents("c", "price < 1"),
        lambda client: client.queue_documents("c", [{"id": "d", "text": "text"}]),
        lambda client: client.retry_job(1),
        lambda client: client.add_bulk("c", iter([{"id": "d", "text": "text"}])),
    ]
    for call, tries in ((call, tries) for calls, tries in ((safe, 4), (unsafe, 1)) for call in calls):
        network = Network(lost)
        with pytest.raises(errors.ConnectionFailed):
            call(over(network))
        assert len(network.requests) == tries
        refused = Network(httpx.ConnectError("refused"))  # nothing was sent, so nothing was served
        with pytest.raises(errors.ConnectionFailed):
            call(over(refused))
        assert len(refused.requests) == (4 if call is not unsafe[-1] else 1)  # the played network reads bodies first


def test_a_bulk_request_is_repeated_byte_by_byte_under_its_key(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(httpx.ReadError("cut"), refusal(409, "job_conflict", "1"), httpx.Response(202, json=JOB))
    assert over(network).add_bulk("c", [{"id": str(n), "text": "text " * n} for n in range(300)]).id == 1
    assert len(network.requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in network.requests}) == 1
    assert len({request.content for request in network.requests}) == 1


def test_waiting_for_a_job_outlives_a_server_that_restarts(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(
        httpx.Response(200, json=JOB),
        httpx.ConnectError("refused"),
        httpx.Response(200, json=JOB | {"state": "running", "reason": None}),
        httpx.Response(200, json=JOB | {"state": "done", "errors": []}),
    )
    assert over(network).wait_for_job(1).state == "done"
    assert len(network.requests) == 4


def test_a_server_that_is_not_ready_is_an_answer(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(httpx.Response(503, json={"status": "not_ready", "database": "ok", "model": "not loaded"}))
    ready = over(network).ready()
    assert (ready.ready, ready.details["model"]) == (False, "not loaded")
    assert len(network.requests) == 1


@contextmanager
def cutting(times: int) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a little of a request and cuts the connection, so many times, and then answers."""
    seen: list[bytes] = []
    body = b'{"collections": []}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve(listener: socket.socket) -> None:
        for number in range(times + 1):
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(2000))
                if number == times:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(10)


def test_a_real_connection_that_is_cut(make_face: Callable[..., Face]) -> None:
    with cutting(2) as (address, seen):
        assert make_face(address).list_collections() == ()
        assert len(seen) == 3


def test_nobody_listens(make_face: Callable[..., Face]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(errors.ConnectionFailed):
        make_face(f"http://127.0.0.1:{port}").list_collections()


def test_patience_has_to_make_sense() -> None:
    nan = float("nan")
    for bad in (
        {"tries": 0}, {"base_seconds": -1.0}, {"longest_seconds": -1.0}, {"base_seconds": nan}, {"longest_seconds": nan}
    ):  # fmt: skip
        with pytest.raises(ValueError, match="tries must be 1 or more"):
            Retries(**bad)


def test_bad_arguments_of_the_asynchronous_client_raise_where_they_are_awaited() -> None:
    """So that several searches can be gathered."""
    from salience.client import AsyncClient

    async def run() -> list[Any]:
        async with AsyncClient(transport=httpx.MockTransport(Network().later)) as client:
            assert inspect.iscoroutinefunction(client.search)
            return await asyncio.gather(*(client.search("", word) for word in ("a", "b")), return_exceptions=True)

    assert [type(found) for found in asyncio.run(run())] == [ValueError, ValueError]


def test_a_reindex_that_is_about_to_switch_when_the_time_is_over_is_not_taken_for_done(
    over: Callable[..., Face],
) -> None:
    numbers = dict.fromkeys(("id", "documents", "done", "waiting", "passages", "tokens"), 1)
    body = {**numbers, "collection": "shop", "state": "ready", "share": 1.0, "auto_switch": True, "grace_seconds": 1.0}
    client = over(Network(httpx.Response(200, json={**body, "created_at": ""})))
    with pytest.raises(errors.ReindexUnfinished, match="it is ready after 0 seconds"):
        client.wait_for_reindex("shop", timeout=0)


def test_a_task_that_is_cancelled_ends_at_once() -> None:
    from salience.client import AsyncClient

    async def run() -> None:
        network = Network(httpx.ConnectError("refused"))
        transport = httpx.MockTransport(network.later)
        async with AsyncClient(transport=transport, retries=Retries(base_seconds=60, longest_seconds=60)) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.list_collections(), 0.05)
        assert len(network.requests) == 1

    asyncio.run(run())


def test_a_write_that_times_out_says_what_may_have_been_done(over: Callable[..., Face]) -> None:
    network = Network(httpx.ReadTimeout("timed out"))
    with pytest.raises(
        errors.TimedOut, match=r"some of the documents may be stored, and sending them again is safe.*bulk"
    ):
        over(network).add_documents("c", [{"text": "a"}])
    with pytest.raises(errors.TimedOut, match="the document may be stored, and sending it again is safe"):
        over(network).put_document("c", "a", "text")
    with pytest.raises(errors.TimedOut, match="the server may have done it, or still be at work"):
        over(network).delete_documents("c", ids=["a"])
    with pytest.raises(errors.TimedOut) as read:
        over(network).list_collections()
    assert str(read.value) == "GET /v1/collections: timed out"


def test_a_call_can_have_a_timeout_of_its_own(over: Callable[..., Face]) -> None:
    counts = ("seq", "created", "replaced", "updated", "unchanged", "failed", "passages", "tokens")
    report = dict.fromkeys((*counts, "truncated_count", "duplicate_count"), 0)
    lists: dict[str, list[object]] = {"errors": [], "truncated": [], "duplicates": []}
    network = Network(httpx.Response(200, json={**report, **lists}))
    client = over(network, timeout=5.0)
    client.add_documents("c", [])
    client.add_documents("c", [], timeout=600)
    found = [request.extensions["timeout"] for request in network.requests]
    assert [(one["read"], one["connect"]) for one in found] == [(5.0, 5.0), (600, 10.0)]


def test_a_client_may_be_patient_without_end(over: Callable[..., Face], waits: list[float]) -> None:
    network = Network(refusal(503, "storage_busy", "0"))
    with pytest.raises(errors.Unavailable):
        over(network, retries=Retries(tries=1100, longest_seconds=2.0)).list_collections()
    assert len(network.requests) == 1100
    assert max(waits) <= 2
