import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import embedder.scheduling
from embedder.backbone import Backbone
from embedder.bert import load_bert
from embedder.precision import Precision
from tests.embedder.microbatching.recording import LONGEST, Interruption, Recording
from tests.embedder.tiny import save_tiny_model


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    found = load_bert(save_tiny_model(tmp_path_factory.mktemp("model") / "m"), torch.device("cpu"), Precision.FP32)
    assert found is not None
    return found


@pytest.fixture
def recording(network: Backbone) -> Recording:
    return Recording(network)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a second passes quickly."""
    monkeypatch.setattr(embedder.scheduling, "PATIENCE_SECONDS", LONGEST)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    """Ends behind `callers`, one of which sends it."""
    made = Interruption()
    before = signal.signal(signal.SIGINT, made.arrives)
    yield made
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def callers(interruption: Interruption) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
