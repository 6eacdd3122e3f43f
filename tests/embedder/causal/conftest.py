"""Tiny causal language models, each loaded once."""

from pathlib import Path

import pytest
import torch

from embedder.causal.model import CausalModel, load_causal
from tests.embedder.causal.tiny import save_tiny_causal

CPU = torch.device("cpu")


@pytest.fixture(scope="session", params=["gpt2", "llama", "qwen3", "mistral"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of each architecture; mistral's attention sees a window of 6 tokens alone."""
    return save_tiny_causal(tmp_path_factory.mktemp("causal") / request.param, request.param)


@pytest.fixture(scope="session")
def any_model(folder: Path) -> CausalModel:
    return load_causal(folder, device=CPU)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    return load_causal(save_tiny_causal(tmp_path_factory.mktemp("causal") / "gpt2"), device=CPU)
