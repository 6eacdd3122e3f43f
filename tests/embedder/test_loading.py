"""Model folders, good and bad, with sentence-transformers as the oracle."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from core.errors import InvalidControl, ModelError
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.loading import load_encoder
from tests.embedder.tiny import save_tiny_model, write_json

TEXTS = ["i want to play on my tv", "the wolf", "a red car " * 20, "movie"]
TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("kind", "pooling", "dense"),
    [
        ("bert", "mean", None),
        ("bert", "cls_token", None),
        ("bert", "lasttoken", None),
        ("bert", "mean", TANH),
        ("bert", "mean", IDENTITY),
        ("xlm-roberta", "mean", None),
        ("mpnet", "mean", None),
    ],
)
def test_vectors_equal_those_of_sentence_transformers(
    tmp_path: Path, kind: str, pooling: str, dense: str | None
) -> None:
    folder = save_tiny_model(tmp_path / "m", kind, pooling=pooling, dense=dense)
    ours = load_encoder(str(folder), device="cpu").encode([Prompt(text=t) for t in TEXTS], Representation.DOCUMENT)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(ours.vectors - theirs).max() < 1e-5
    assert ours.truncated.tolist() == [False, False, True, False]
    assert ours.token_counts.tolist()[1:] == [4, 20, 3]


def test_the_models_own_prompts_are_used_and_cost_tokens(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : ", "passage": "passage : "})
    encoder = load_encoder(str(folder), device="cpu")
    oracle = SentenceTransformer(str(folder), device="cpu")
    query = encoder.encode([Prompt(text="red car")], Representation.QUERY)
    document = encoder.encode([Prompt(text="red car")], Representation.DOCUMENT)
    assert np.abs(query.vectors[0] - oracle.encode("red car", prompt="query : ")).max() < 1e-5
    assert np.abs(document.vectors[0] - oracle.encode("red car", prompt="passage : ")).max() < 1e-5
    assert encoder.overhead(Representation.QUERY) == 4
    assert query.token_counts[0] == 4 + len(encoder.token_spans("red car"))


def test_a_control_hits_its_word_behind_a_prompt(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : "})
    encoder = load_encoder(str(folder), device="cpu")
    vectors = [
        encoder.encode([Prompt(text=text, controls=(TextControl(start=0, length=3, factor=0),))], Representation.QUERY)
        for text in ("red car", "the car", "red tv ")
    ]
    assert np.allclose(vectors[0].vectors, vectors[1].vectors, atol=1e-5)
    assert not np.allclose(vectors[0].vectors, vectors[2].vectors, atol=1e-3)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_the_probe_passes_where_the_interface_reaches(tmp_path: Path, kind: str) -> None:
    support = load_encoder(str(save_tiny_model(tmp_path / "m", kind)), device="cpu").support
    assert support.attention
    assert support.pool
    assert not support.reason


def test_a_model_whose_attention_cannot_be_steered_offers_the_pool(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", "mpnet")), device="cpu")
    assert not encoder.support.attention
    assert encoder.support.pool
    prompt = [Prompt(text="red car", controls=(TextControl(start=0, length=3, factor=4),))]
    by_pool = encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.POOL))
    assert np.allclose(encoder.encode(prompt, Representation.QUERY).vectors, by_pool.vectors)
    with pytest.raises(InvalidControl, match="does not take controls on attention: a suppressed token still"):
        encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.ATTENTION))


def test_a_pooling_of_one_token_takes_no_pool_control_and_no_trace(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", pooling="cls_token")), device="cpu")
    prompt = [Prompt(text="red car", controls=(TextControl(start=0, length=3, factor=0),))]
    with pytest.raises(InvalidControl, match="pooling is not a mean"):
        encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.POOL))
    assert encoder.trace(prompt, Representation.QUERY) is None
    steered = encoder.encode(prompt, Representation.QUERY).vectors
    assert not np.allclose(steered, encoder.encode([Prompt(text="red car")], Representation.QUERY).vectors, atol=1e-4)


def test_the_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    one = load_encoder(str(save_tiny_model(tmp_path / "a")), device="cpu")
    same = load_encoder(str(save_tiny_model(tmp_path / "b")), device="cpu")
    other_pooling = load_encoder(str(save_tiny_model(tmp_path / "c", pooling="cls_token")), device="cpu")
    other_prompt = load_encoder(str(save_tiny_model(tmp_path / "d", prompts={"query": "query : "})), device="cpu")
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other_pooling.fingerprint, other_prompt.fingerprint}) == 3


def test_the_default_model_is_checked_by_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embedder.loading.default_folder", lambda: save_tiny_model(tmp_path / "m"))
    with pytest.raises(ModelError, match="expected 53aa5117"):
        load_encoder(device="cpu")


def _without(name: str) -> object:
    return lambda folder: (folder / name).unlink()


def _with_module(module: str) -> object:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        write_json(
            folder / "modules.json", [*modules, {"path": "9_X", "type": f"sentence_transformers.models.{module}"}]
        )

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("tokenizer.json"), "has no tokenizer.json"),
        (_without("config.json"), "has no config.json"),
        (_without("model.safetensors"), "has no weights"),
        (_with_module("LSTM"), "module LSTM is not supported"),
        (lambda folder: (folder / "modules.json").write_text("{"), "modules.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 64), "model"),
        (lambda folder: write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True}), "max"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, damage: object, message: str) -> None:
    folder = save_tiny_model(tmp_path / "m")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        load_encoder(str(folder), device="cpu")


def test_a_missing_folder_and_an_unknown_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        load_encoder(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="'gpu9' cannot be used"):
        load_encoder(str(save_tiny_model(tmp_path / "m")), device="gpu9")
