"""A real server, and both clients behind one face: what the asynchronous one gives is awaited here."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from salience.client import AsyncClient, Client, Retries
from tests.app.clients.server import serving

TOKEN = "a-token-of-the-client-tests"
QUICK = Retries(tries=4, base_seconds=0.01, longest_seconds=2.0)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), {"SALIENCE_AUTH__TOKENS": TOKEN}) as found:
        yield found


class Face:
    """A client whose every method returns, and whose iterators are lists."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made = method(*arguments, **options)
            if inspect.isawaitable(made):
                return self._runner.run(_awaited(made))
            if isinstance(made, AsyncIterator):
                return self._runner.run(_listed(made))
            return list(made) if isinstance(made, Iterator) else made

        return call

    def end(self) -> None:
        if isinstance(self.client, AsyncClient):
            self._runner.run(self.client.close())
        else:
            self.client.close()
        self._runner.close()


@pytest.fixture(params=[Client, AsyncClient])
def kind(request: pytest.FixtureRequest) -> type[Client] | type[AsyncClient]:
    """Each of the two clients."""
    found: type[Client] | type[AsyncClient] = request.param
    return found


@pytest.fixture
def make_face(kind: Callable[..., Client | AsyncClient]) -> Iterator[Callable[..., Face]]:
    made: list[Face] = []

    def make(address: str, **options: Any) -> Face:
        made.append(Face(kind(address, **{"retries": QUICK, **options})))
        return made[-1]

    yield make
    for face in made:
        face.end()


class Network:
    """Answers one request after another by the script; its last line answers all that follow."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    def sync(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._answer(request)

    async def later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(line, Exception):
            raise line
        return line


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which are not waited for."""
    found: list[float] = []

    async def later(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("salience.client._blocking.time", SimpleNamespace(sleep=found.append))
    monkeypatch.setattr("asyncio.sleep", later)
    return found


@pytest.fixture
def over(make_face: Callable[..., Face], kind: type) -> Callable[..., Face]:
    """A client over a network."""

    def make(network: Network, **options: Any) -> Face:
        handler = network.sync if kind.__name__ == "Client" else network.later
        return make_face("http://salience", transport=httpx.MockTransport(handler), **options)

    return make


def refusal(status: int, code: str = "x", retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = {"error": {"code": code, "message": "not now", "param": None, "request_id": "r1"}}
    return httpx.Response(status, json=body, headers=headers)


async def _awaited(made: Any) -> Any:
    return await made


async def _listed(made: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in made]
