"""What is let in, and when: requests at a small door, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from fastapi import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.errors import status_of
from app.middleware import CLIENT_LEFT, RequestContext
from app.operation import admission
from app.operation.admission import Admission
from app.operation.lanes import Lane
from app.routepath import RouteTemplates
from core.context import Awaited, current_answer, current_priority
from core.errors import SalienceError
from core.protocols import Priority

WHOLE: Message = {"type": "http.request", "body": b"{}", "more_body": False}
DISCONNECT: Message = {"type": "http.disconnect"}


class Door:
    """An application behind the middleware whose requests last until they are let go."""

    def __init__(self, at_once: int = 1, waiting: int = 1) -> None:
        self.refusals: list[tuple[str, str]] = []
        self.lanes = {
            name: Lane(
                name,
                at_once=at_once,
                waiting=waiting,
                seconds=5,
                refused=lambda lane, why: self.refusals.append((lane, why)),
            )
            for name in ("search", "write", "nice")
        }
        self.inside: list[str] = []
        self.bodies: list[bytes] = []
        self.answers: list[Awaited | None] = []
        self.priorities: list[Priority] = []
        self.go = asyncio.Event()
        self._admission = Admission(self._app, self.lanes, _answer)

    async def ask(
        self,
        path: str,
        *messages: Message,
        method: str = "POST",
        query: str = "",
        headers: dict[str, str] | None = None,
    ) -> int | None:
        """The status of the answer; None: there was none. After `messages` the sender waits."""
        statuses: list[int] = []
        coming = list(messages)
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope: Scope = {
            "type": "http", "path": path, "method": method, "query_string": query.encode(), "headers": raw,
        }  # fmt: skip

        async def receive() -> Message:
            if not coming:
                await asyncio.Event().wait()
            return coming.pop(0)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._admission(scope, receive, send)
        return statuses[0] if statuses else None

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside.append(scope["path"])
        self.answers.append(current_answer())
        self.priorities.append(current_priority(Priority.INTERACTIVE))
        if scope["path"] not in admission.HEALTH:
            try:
                self.bodies.append((await receive())["body"])
            except HTTPException as error:
                await PlainTextResponse("", error.status_code)(scope, receive, send)
                return
            await self.go.wait()
        await PlainTextResponse("")(scope, receive, send)


def _answer(request: Request, error: SalienceError) -> Response:
    return PlainTextResponse(error.message, status_of(error))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_beyond_the_queue_it_is_a_503_and_health_answers_all_the_same() -> None:
    async def test() -> None:
        door = Door()
        first, second = (asyncio.create_task(door.ask("/v1/search", WHOLE)) for _ in range(2))
        await settled()
        assert await door.ask("/v1/search", WHOLE) == 503
        for path in ("/livez", "/readyz", "/metrics"):
            assert await door.ask(path, WHOLE, method="GET") == 200
        assert door.refusals == [("search", "full")]
        door.go.set()
        assert list(await asyncio.gather(first, second)) == [200, 200]

    run(test())


def test_a_request_that_is_to_come_last_says_so_in_any_word_for_yes() -> None:
    async def test() -> None:
        door = Door(at_once=20)
        door.go.set()
        for said in ("true", "True", "t", "1", "on", "y", "YES", "false&nice=true"):
            assert await door.ask("/embed", WHOLE, query=f"nice={said}") == 200
            assert door.priorities.pop() is Priority.NICE, said
        for said in ("false", "f", "0", "off", "n", "no", "true&nice=false"):
            assert await door.ask("/embed", WHOLE, query=f"nice={said}") == 200
            assert door.priorities.pop() is Priority.INTERACTIVE, said
        for said in ("", "perhaps", "2", "tru%C3%A9"):
            assert await door.ask("/embed", WHOLE, query=f"nice={said}") == 422, said
        assert door.priorities == []

    run(test())


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("PATCH", "documents/radio", "write"),
        ("PUT", "documents/radio", "write"),
        ("POST", "documents:delete", "write"),
        ("POST", "documents:count", "search"),
        ("GET", "documents", "search"),
        ("POST", "search", "search"),
    ],
)
def test_writers_wait_in_a_line_of_their_own(method: str, path: str, lane: str) -> None:
    scope = {"method": method, "path": f"/v1/collections/goods/{path}", "query_string": b""}
    assert admission.lane_of(scope, last=False) == lane


def test_who_is_refused_at_once_is_not_watched() -> None:
    async def test() -> None:
        door = Door(waiting=0)
        first = asyncio.create_task(door.ask("/v1/search", WHOLE))
        await settled()
        before = asyncio.all_tasks()
        for _ in range(5):
            assert await door.ask("/v1/search", WHOLE) == 503
        assert asyncio.all_tasks() == before  # whoever was watched would be until the next turn of the loop
        door.go.set()
        assert await first == 200

    run(test())


def test_writers_and_nice_callers_have_places_of_their_own() -> None:
    async def test() -> None:
        door = Door(waiting=0)
        ways = [
            ("/v1/collections/a/documents:bulk", ""),
            ("/embed", "nice=true"),
            ("/v1/collections/documents/search", "nice=false"),
        ]
        tasks = [asyncio.create_task(door.ask(path, WHOLE, query=query)) for path, query in ways]
        await settled()
        assert len(door.inside) == 3
        for path, query in ways:
            assert await door.ask(path, WHOLE, query=query) == 503
        assert [lane for lane, _ in door.refusals] == ["write", "nice", "search"]
        door.go.set()
        assert await asyncio.gather(*tasks) == [200, 200, 200]

    run(test())


def test_a_body_that_does_not_come_takes_no_place() -> None:
    async def test() -> None:
        door = Door(waiting=0)
        half = asyncio.create_task(door.ask("/v1/search", {"type": "http.request", "body": b"{", "more_body": True}))
        await settled()
        door.go.set()
        assert await door.ask("/v1/search", WHOLE) == 200
        assert door.inside == ["/v1/search"]
        half.cancel()

    run(test())


def test_a_body_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ARRIVAL_SECONDS", 0.05)
    run(_expect(408, Door().ask("/v1/search")))


async def _expect(status: int, answer: Coroutine[Any, Any, int | None]) -> None:
    assert await answer == status


def test_the_beginning_of_a_long_body_is_enough_and_nothing_of_it_is_lost() -> None:
    async def test() -> None:
        door = Door()
        door.go.set()
        begin = b"x" * admission.READ_AHEAD
        messages: list[Message] = [
            {"type": "http.request", "body": begin, "more_body": True},
            {"type": "http.request", "body": b"y", "more_body": False},
        ]
        assert await door.ask("/v1/search", *messages) == 200
        assert door.bodies == [begin]

    run(test())


def test_who_leaves_while_waiting_is_not_served() -> None:
    async def test() -> None:
        door = Door()
        first = asyncio.create_task(door.ask("/v1/search", WHOLE))
        await settled()
        assert await door.ask("/v1/search", WHOLE, DISCONNECT) is None
        door.go.set()
        assert await first == 200
        assert (len(door.inside), door.refusals) == (1, [("search", "gone")])

    run(test())


def test_the_work_is_told_when_its_caller_leaves_or_its_time_is_over() -> None:
    async def test() -> None:
        door = Door(at_once=3)
        tasks = [
            asyncio.create_task(door.ask("/v1/search", WHOLE, *more, headers=headers))
            for more, headers in (((), {}), ((DISCONNECT,), {}), ((), {"salience-timeout-ms": "30"}))
        ]
        await asyncio.sleep(0.1)
        assert [answer is not None and answer.over for answer in door.answers] == [False, True, True]
        door.go.set()
        await asyncio.gather(*tasks)

    run(test())


def test_the_time_that_a_request_gives_itself_ends_its_waiting() -> None:
    async def test() -> None:
        door = Door()
        first = asyncio.create_task(door.ask("/v1/search", WHOLE))
        await settled()
        assert await door.ask("/v1/search", WHOLE, headers={"salience-timeout-ms": "20"}) == 503
        assert door.refusals == [("search", "late")]
        door.go.set()
        await first

    run(test())


@pytest.mark.parametrize("given", ["", "0", "-1", "1.5", "1e3", "٣", "600001", "9" * 5000])
def test_a_time_that_is_no_number_of_milliseconds_is_refused(given: str) -> None:
    async def ask() -> None:
        raw = {"salience-timeout-ms": given} if given.isascii() else {"salience-timeout-ms": "\xb3"}
        await _expect(400, Door().ask("/v1/search", WHOLE, headers=raw))

    run(ask())


def test_who_is_refused_at_the_door_takes_no_place() -> None:
    async def test() -> None:
        door = Door(at_once=1, waiting=0)
        busy = asyncio.create_task(door.ask("/v1/search", WHOLE))
        await settled()

        async def refused() -> Message:
            raise HTTPException(401, "who are you")

        statuses: list[int] = []

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        scope: Scope = {"type": "http", "path": "/v1/x", "method": "POST", "query_string": b"", "headers": []}
        await door._admission(scope, refused, send)
        assert statuses[0] == 401
        door.go.set()
        assert await busy == 200

    run(test())


def test_who_left_is_noted_as_such_and_not_as_a_failure() -> None:
    noted: list[tuple[int, str | None]] = []

    def answered(*, method: str, route: str | None, status: int, seconds: float, code: str | None) -> None:
        noted.append((status, code))

    async def test() -> None:
        door = Door()
        outer = RequestContext(door._admission, answered, RouteTemplates(list))
        scope: Scope = {"type": "http", "path": "/v1/x", "method": "POST", "query_string": b"", "headers": []}

        async def receive() -> Message:
            return DISCONNECT

        async def send(message: Message) -> None:
            raise AssertionError(message)

        await outer(scope, receive, send)
        assert (noted, door.inside) == ([(CLIENT_LEFT, None)], [])

    run(test())
