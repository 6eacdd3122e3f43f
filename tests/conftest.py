"""Fixtures that several packages' tests share."""

import pytest

from embedder.loading import load_encoder
from embedder.local import LocalEncoder


@pytest.fixture(scope="session")
def encoder() -> LocalEncoder:
    """The real default model, loaded once."""
    return load_encoder(device="cpu")
