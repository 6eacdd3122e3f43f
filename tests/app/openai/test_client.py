"""The openai package against a running server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.prompts import Prompt, TokenIdsItem
from core.records import Representation
from embedder.local import LocalEncoder
from embedder.projection import compressed
from tests.app.clients.documents import program
from tests.app.clients.environment import drive, run_client
from tests.app.conftest import Server

TEXTS = ["A console plays games.", "A radio plays music.", "A console plays games."]


@pytest.fixture(scope="module")
def done(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = drive("openai-3.54.0", "drive_openai.py", server.address, server.token)
    return found


@pytest.fixture(scope="module")
def expected(encoder: LocalEncoder) -> np.ndarray:
    return encoder.encode([Prompt.of(text) for text in TEXTS], Representation.SYMMETRIC).vectors


def vectors(answer: dict[str, Any]) -> np.ndarray:
    assert answer["object"] == "list"
    assert [(entry["object"], entry["index"]) for entry in answer["data"]] == [
        ("embedding", place) for place in range(len(answer["data"]))
    ]
    return np.array([entry["embedding"] for entry in answer["data"]])


def test_texts(done: dict[str, Any], expected: np.ndarray, encoder: LocalEncoder) -> None:
    assert np.vecdot(vectors(done["many"]), expected) == pytest.approx(1, abs=1e-4)
    read = encoder.encode([Prompt.of(text) for text in TEXTS], Representation.SYMMETRIC).token_counts.sum()
    assert done["many"]["usage"] == {"prompt_tokens": read, "total_tokens": read}
    assert done["many"]["model"] == done["alias"]["model"] == "default"
    for name in ("one", "at_the_root", "floats", "base64", "user", "alias", "query", "own_dimension", "raw"):
        assert np.dot(vectors(done[name])[0], expected[0]) == pytest.approx(1, abs=1e-4), name


def test_both_encodings_carry_the_same_numbers(done: dict[str, Any]) -> None:
    floats, decoded = vectors(done["floats"])[0], vectors(done["base64"])[0]
    assert np.abs(floats - decoded).max() < 1e-6


def test_token_ids(done: dict[str, Any], encoder: LocalEncoder) -> None:
    prompts = [Prompt(items=(TokenIdsItem(ids=ids),)) for ids in ((2023, 2003), (2003,))]
    read = encoder.encode(prompts, Representation.SYMMETRIC).vectors
    assert np.dot(vectors(done["ids"])[0], read[0]) == pytest.approx(1, abs=1e-4)
    assert np.vecdot(vectors(done["lists_of_ids"]), read) == pytest.approx(1, abs=1e-4)


def test_fewer_dimensions(done: dict[str, Any], encoder: LocalEncoder) -> None:
    shorter = compressed(encoder, 128).encode([Prompt.of(TEXTS[0])], Representation.SYMMETRIC).vectors
    assert np.dot(vectors(done["shorter"])[0], shorter[0]) == pytest.approx(1, abs=1e-4)


def test_a_cut_text_is_named(done: dict[str, Any]) -> None:
    assert done["long"]["truncated_inputs"] == [1]
    assert "truncated_inputs" not in done["many"]


def test_the_asynchronous_client(done: dict[str, Any], expected: np.ndarray) -> None:
    assert np.vecdot(np.array(done["async"]["vectors"]), expected) == pytest.approx(1, abs=1e-4)
    assert done["async"]["refused"] == "model_not_found"


def test_models(done: dict[str, Any]) -> None:
    assert done["models"] == ["default", "text-embedding-3-small"]
    assert done["model"]["id"] == "text-embedding-3-small"
    assert done["most"] == 2048


@pytest.mark.parametrize(
    ("name", "error", "status", "code", "param", "problem"),
    [
        ("too_many", "BadRequestError", 400, "invalid_input", "input", "2049 are more than 2048"),
        ("no_such_size", "BadRequestError", 400, "invalid_input", "dimensions", "salience models fit"),
        ("no_such_model", "NotFoundError", 404, "model_not_found", "model", "there is no model 'text-embedding-4'"),
        ("missing_model", "NotFoundError", 404, "model_not_found", "model", "there is no model 'gpt'"),
        ("empty_text", "BadRequestError", 400, "invalid_input", "input", "input[1]: must be a text"),
        ("nothing", "BadRequestError", 400, "invalid_input", "input", "input: must be a text"),
        ("no_such_id", "BadRequestError", 400, "invalid_input", "input", "input: token id 1000000 is not in"),
        ("wrong_key", "AuthenticationError", 401, "invalid_api_key", None, "valid bearer token"),
    ],
)
def test_errors_are_the_packages_own_exceptions(
    done: dict[str, Any], name: str, error: str, status: int, code: str, param: str | None, problem: str
) -> None:
    found = done[name]
    assert (found["error"], found["status"], found["code"], found["param"]) == (error, status, code, param)
    assert found["type"] == "invalid_request_error"
    assert problem in found["message"]
    assert found["id"]


def test_the_documentations_program_runs(server: Server, encoder: LocalEncoder) -> None:
    environment = {"OPENAI_BASE_URL": f"{server.address}/v1", "OPENAI_API_KEY": server.token}
    done = run_client("openai-3.54.0", "-c", program("OpenAI"), environment=environment)
    prompts = [Prompt.of("A console plays games."), Prompt.of("A radio plays music.")]
    tokens = encoder.encode(prompts, Representation.SYMMETRIC).token_counts.sum()
    assert done.stdout == f"384 {tokens}\n", done.stderr
