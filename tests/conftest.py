"""Fixtures that several packages' tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from store import Database
from tests.models import made_model
from tests.tables import made_once

pytest_plugins = ["tests.hanging", "tests.milvus", "tests.requiring"]
settings.register_profile("untimed", deadline=None)  # the machine may be busy
settings.load_profile("untimed")
THOROUGH_SECONDS = 3600  # that a long run may take, in place of the time limit of pyproject.toml


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="long runs of what has a short one, as `make test-crash`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--thorough"):
        for item in items:
            item.add_marker(pytest.mark.timeout(THOROUGH_SECONDS))


@pytest.fixture(scope="session", autouse=True)
def _tables_made_once() -> Iterator[None]:
    with made_once():
        yield


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether to take the time."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty one."""
    opened = Database.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def encoder() -> LocalEncoder:
    """The real default model, loaded once, in the precision that has exact oracles."""
    return load_encoder(device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def splade() -> Path:
    """The folder of splade-tiny, a real learned sparse model."""
    return made_model("splade-tiny")
