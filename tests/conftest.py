"""Fixtures that several packages' tests share."""

from pathlib import Path

import pytest

from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from tests.models import made_model


@pytest.fixture(scope="session")
def encoder() -> LocalEncoder:
    """The real default model, loaded once, in the precision that has exact oracles."""
    return load_encoder(device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def splade() -> Path:
    """The folder of splade-tiny, a real learned sparse model."""
    return made_model("splade-tiny")
