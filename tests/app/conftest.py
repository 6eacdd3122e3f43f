"""A real application over a real database with the real model, and the command line in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

import app.wiring
from app.cli.main import run
from app.main import create_app
from app.settings import Settings, load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from tests.app.clients.server import LOG, serving
from tests.embedder.tiny import save_tiny_model

DOCUMENTS = [
    {"id": "console", "text": "A gaming console: play games on your TV with friends.", "metadata": {"price": 299}},
    {"id": "tv", "title": "Television", "text": "A TV with a bright screen for films.", "metadata": {"price": 499}},
    {"id": "radio", "text": "A radio for the kitchen. It wakes you up, too.", "metadata": {"price": 49}},
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("SALIENCE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def make_client(encoder: LocalEncoder, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Builds a client of an application with the given settings; its failures are answered, not raised."""
    clients: list[TestClient] = []

    def make(**given: Any) -> TestClient:
        settings: Settings = load_settings(data_dir=tmp_path / "data", **given)
        client = TestClient(create_app(Wiring(settings, encoder=encoder)), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    """A client with the collection "goods", which holds DOCUMENTS."""
    client = make_client()
    assert client.post("/v1/collections", json={"name": "goods"}).status_code == 201
    report = client.post("/v1/collections/goods/documents", json={"documents": DOCUMENTS}).json()
    assert report["created"] == len(DOCUMENTS)
    return client


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    """Settings that name a small model beside the default one."""
    return {"tiny": {"folder": save_tiny_model(tmp_path / "tiny"), "precision": "fp32"}}


@pytest.fixture
def salience(
    encoder: LocalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process with the loaded model: exit code, standard output, standard error."""
    original = Wiring.__init__
    monkeypatch.setattr(
        app.wiring.Wiring, "__init__", lambda self, settings, encoder=encoder: original(self, settings, encoder=encoder)
    )
    monkeypatch.setattr("app.logs.configure_logs", lambda settings: None)  # it would outlive the test
    monkeypatch.setenv("SALIENCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SALIENCE_PRECISION", str(encoder.precision))  # of models that a command loads itself

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code: object = 0
        try:
            run(list(arguments))
        except SystemExit as exit:
            code = exit.code or 0
        captured = capsys.readouterr()
        return int(str(code)), captured.out, captured.err

    return call


class Server(NamedTuple):
    """A server in a process of its own, for clients in theirs."""

    address: str
    log: Path  # JSON lines
    token: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the default model, by the names of the VikingDB API, too, and under an alias that OpenAI's users know."""
    folder = tmp_path_factory.mktemp("server")
    token, access_key, secret_key = "a-token-of-the-tests", "AKOFTHETESTS", "SKOFTHETESTS"
    environment = {
        "SALIENCE_AUTH__TOKENS": token,
        "SALIENCE_AUTH__HMAC_KEYS": f"{access_key}:{secret_key}",
        "SALIENCE_ALIASES": '{"text-embedding-3-small": "default"}',
        "SALIENCE_VIKINGDB__FALLBACK": "true",
        "SALIENCE_VIKINGDB__TOKENS_PER_MINUTE": "20000",
    }
    with serving(folder, environment) as address:
        yield Server(address, folder / LOG, token, access_key, secret_key)


@pytest.fixture(scope="session")
def doors(encoder: LocalEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client without collections, for requests to the public embedding APIs that leave nothing behind."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.upper().startswith("SALIENCE_")]:
            environment.delenv(name)
        settings = load_settings(data_dir=tmp_path_factory.mktemp("doors"), vikingdb={"fallback": True})
    with TestClient(create_app(Wiring(settings, encoder=encoder)), raise_server_exceptions=False) as client:
        yield client
