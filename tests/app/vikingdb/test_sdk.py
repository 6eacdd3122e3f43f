"""The volcengine SDK against a running server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from core.prompts import Prompt
from core.records import Representation
from embedder.local import LocalEncoder
from tests.app.clients.documents import program
from tests.app.clients.environment import drive, run_client
from tests.app.conftest import Server

TEXTS = ["如何使用torchserve部署模型", "how to train a model, how to train it well"]
SPARSE = ("bge-m3", "bge-large-zh-and-m3")


@pytest.fixture(scope="module")
def done(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = drive(
        "volcengine-1.0.229",
        "drive_volcengine.py",
        urlsplit(server.address).netloc,
        server.access_key,
        server.secret_key,
    )
    return found


@pytest.fixture(scope="module")
def expected(encoder: LocalEncoder) -> np.ndarray:
    return encoder.encode([Prompt.of(text) for text in TEXTS], Representation.SYMMETRIC).vectors


def test_every_name_gives_the_models_vectors(done: dict[str, Any], expected: np.ndarray) -> None:
    for name in ("bge-large-zh", "bge-m3", "bge-large-zh-and-m3", "bge-visualized-m3"):
        data = done[name]["data"]
        assert set(data) == {"sentence_dense_embedding", *(["sentence_sparse_embedding"] if name in SPARSE else [])}
        assert np.vecdot(np.array(data["sentence_dense_embedding"]), expected) == pytest.approx(1, abs=1e-4)


def test_params(done: dict[str, Any]) -> None:
    data = done["all"]["data"]
    assert data["sentence_sparse_embedding"][1]["train"] == pytest.approx(2 / 3.2)
    assert data["token_usage"]["total_tokens"] > 20
    assert set(done["sparse_only"]["data"]) == {"sentence_sparse_embedding"}
    assert done["hundred"]["data"] == 100


def test_one_item_and_the_asynchronous_calls(done: dict[str, Any], expected: np.ndarray) -> None:
    assert done["async"]["data"]["sentence_sparse_embedding"] == done["all"]["data"]["sentence_sparse_embedding"]
    for name, row in (("one", 0), ("async_one", 1), ("async", 0)):
        found = done[name]["data"]["sentence_dense_embedding"][0]
        assert np.dot(found, expected[row]) == pytest.approx(1, abs=1e-4)
    assert done["other_region"]["data"]


@pytest.mark.parametrize(
    ("name", "error", "code", "problem"),
    [
        ("unknown_model", "CalcEmbeddingFailedException", 1000025, "model not found: 'bge-m4'"),
        (
            "async_unknown",
            "VikingDBException",
            1000028,
            "model not found: 'bge-m4'",
        ),  # asynchronous calls tell none
        ("image", "CalcEmbeddingFailedException", 1000025, "takes no images"),
        ("no_sparse_there", "InvalidRequestException", 1000003, "bge-large-zh has no sparse vectors"),
        ("empty_text", "InvalidRequestException", 1000003, "data[0].text: must be given"),
        ("too_many", "InvalidRequestException", 1000003, "at most 100 items"),
        ("over_the_quota", "QuotaLimiterException", 1000029, "25600 tokens"),
        ("other_call", "APINotImplementedException", 1000024, "/api/collection/info"),
        ("wrong_secret", "VikingDBException", 1000028, "unauthorized"),  # the SDK calls a failed ping that
        ("wrong_access_key", "VikingDBException", 1000028, "unauthorized"),
        ("no_such_host", "VikingDBException", 1000028, "host or region is incorrect"),
    ],
)
def test_errors_are_the_sdks_own_exceptions(
    done: dict[str, Any], name: str, error: str, code: int, problem: str
) -> None:
    found = done[name]
    assert (found["error"], found["code"]) == (error, code)
    assert problem in found["message"]
    assert found["id"]


def test_the_log_says_who_stands_in_and_no_text(done: dict[str, Any], server: Server) -> None:
    log = server.log.read_text(encoding="utf-8")
    assert done
    assert "names of the VikingDB API are served by the main model" in log
    assert '"names": ["bge-large-zh", "bge-m3", "bge-large-zh-and-m3", "bge-visualized-m3"]' in log
    for secret in ("torchserve", server.secret_key, server.access_key, "Signature="):
        assert secret not in log
    assert "Traceback" not in log


def test_the_documentations_program_runs(server: Server) -> None:
    host = urlsplit(server.address).netloc
    environment = {"VIKING_HOST": host, "VIKING_AK": server.access_key, "VIKING_SK": server.secret_key}
    done = run_client("volcengine-1.0.229", "-c", program("VikingDB"), environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("384 {'怎么': 0.4545454")
    assert "'total_tokens': " in done.stdout
