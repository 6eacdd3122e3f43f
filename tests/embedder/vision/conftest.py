from pathlib import Path

import pytest

from embedder.vision.encoder import VisionEncoder
from tests.embedder.vision.seeing import load
from tests.embedder.vision.tinyvision import KINDS, save_tiny_vision


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vision(tmp_path_factory.mktemp("vision") / request.param, request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> VisionEncoder:
    return load(folder)
