"""A real server, and what the public clients got from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import load_settings
from app.wiring import Wiring
from embedder.local import LocalEncoder
from tests.app.clients.environment import drive
from tests.app.clients.server import LOG, serving
from tests.embedder.causal.tiny import save_tiny_causal
from tests.embedder.vision.tinyvision import noise, save_tiny_vision

VERSIONS = ("aleph-alpha-client-7.1.0", "aleph-alpha-client-11.5.1")
IMAGES = Path(__file__).resolve().parents[3] / "../shared/data/images20/images"
TOKEN = "a-token-of-these-tests"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A running `salience serve`: the default model, a tiny causal one and a tiny CLIP."""

    address: str
    token: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("server")
    environment = {
        "SALIENCE_AUTH__TOKENS": f"another-token-of-these-tests,{TOKEN}",
        "SALIENCE_DEVICE": "cpu",
        "SALIENCE_MODELS__WRITER__FOLDER": str(save_tiny_causal(folder / "writer")),
        "SALIENCE_MODELS__VISION__FOLDER": str(save_tiny_vision(folder / "vision")),
        "SALIENCE_ALIASES": '{"luminous-explore": "default"}',
    }
    with serving(folder, environment) as address:
        yield Deployment(address=address, token=TOKEN, folder=folder)


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph where the collection of images is at hand, else an image of coloured blocks."""
    if IMAGES.is_dir():
        return min(IMAGES.iterdir())
    file = tmp_path_factory.mktemp("images") / "blocks.jpg"
    noise(1, 300, 200).save(file, "JPEG")
    return file


@pytest.fixture(scope="session")
def answers(deployment: Deployment, photograph: Path) -> Callable[[str], dict[str, dict[str, Any]]]:
    """What a version of the client got, by "sync" and "async", then by call. Each version is driven once."""
    known: dict[str, dict[str, dict[str, Any]]] = {}

    def of(version: str) -> dict[str, dict[str, Any]]:
        if version not in known:
            known[version] = drive(
                version, "drive_aleph_alpha.py", deployment.address, deployment.token, str(photograph)
            )
        return known[version]

    return of


@pytest.fixture(params=[(version, way) for version in VERSIONS for way in ("sync", "async")], ids=" ".join)
def got(request: pytest.FixtureRequest, answers: Callable[[str], dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What one version of the client got in one way, by call."""
    version, way = request.param
    return answers(version)[way]


@pytest.fixture(scope="module")
def api(encoder: LocalEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The application in this process, with a token that the client sends."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("SALIENCE_")]:
            patch.delenv(name)
        settings = load_settings(data_dir=tmp_path_factory.mktemp("api") / "data", auth={"tokens": TOKEN})
    with TestClient(create_app(Wiring(settings, encoder=encoder)), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client
