"""Model folders, good and bad, with sentence-transformers as the oracle."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from core.errors import InvalidControl, ModelError
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.attribution import parts
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
    ours = load_encoder(str(folder), device="cpu", precision="fp32").encode(
        [Prompt.of(t) for t in TEXTS], Representation.DOCUMENT
    )
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(ours.vectors - theirs).max() < 1e-5
    assert ours.truncated.tolist() == [False, False, True, False]
    assert ours.token_counts.tolist()[1:] == [4, 20, 3]


def test_the_models_own_prompts_are_used_and_cost_tokens(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : ", "passage": "passage : "})
    encoder = load_encoder(str(folder), device="cpu", precision="fp32")
    oracle = SentenceTransformer(str(folder), device="cpu")
    query = encoder.encode([Prompt.of("red car")], Representation.QUERY)
    document = encoder.encode([Prompt.of("red car")], Representation.DOCUMENT)
    assert np.abs(query.vectors[0] - oracle.encode("red car", prompt="query : ")).max() < 1e-5
    assert np.abs(document.vectors[0] - oracle.encode("red car", prompt="passage : ")).max() < 1e-5
    assert encoder.overhead(Representation.QUERY) == 4
    assert query.token_counts[0] == 4 + len(encoder.token_spans("red car"))


def test_a_control_hits_its_word_behind_a_prompt(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : "})
    encoder = load_encoder(str(folder), device="cpu", precision="fp32")
    vectors = [
        encoder.encode([Prompt.of(text, controls=(TextControl(start=0, length=3, factor=0),))], Representation.QUERY)
        for text in ("red car", "the car", "red tv ")
    ]
    assert np.allclose(vectors[0].vectors, vectors[1].vectors, atol=1e-5)
    assert not np.allclose(vectors[0].vectors, vectors[2].vectors, atol=1e-3)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_the_probe_passes_where_the_interface_reaches(tmp_path: Path, kind: str) -> None:
    support = load_encoder(str(save_tiny_model(tmp_path / "m", kind)), device="cpu", precision="fp32").support
    assert support.attention
    assert support.pool
    assert not support.reason


def test_a_model_whose_attention_cannot_be_steered_offers_the_pool(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", "mpnet")), device="cpu", precision="fp32")
    assert not encoder.support.attention
    assert encoder.support.pool
    prompt = [Prompt.of("red car", controls=(TextControl(start=0, length=3, factor=4),))]
    by_pool = encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.POOL))
    assert np.allclose(encoder.encode(prompt, Representation.QUERY).vectors, by_pool.vectors)
    with pytest.raises(InvalidControl, match="does not take controls on attention: a suppressed token still"):
        encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.ATTENTION))


def test_a_pooling_of_one_token_takes_no_pool_control_and_no_trace(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", pooling="cls_token")), device="cpu", precision="fp32")
    prompt = [Prompt.of("red car", controls=(TextControl(start=0, length=3, factor=0),))]
    with pytest.raises(InvalidControl, match="pooling is not a mean"):
        encoder.encode(prompt, Representation.QUERY, options=ControlOptions(target=ControlTarget.POOL))
    assert encoder.trace(prompt, Representation.QUERY) is None
    assert encoder.encode_traced(prompt, Representation.QUERY)[1] is None
    steered = encoder.encode(prompt, Representation.QUERY).vectors
    assert not np.allclose(steered, encoder.encode([Prompt.of("red car")], Representation.QUERY).vectors, atol=1e-4)


def test_the_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    one = load_encoder(str(save_tiny_model(tmp_path / "a")), device="cpu", precision="fp32")
    same = load_encoder(str(save_tiny_model(tmp_path / "b")), device="cpu", precision="fp32")
    other_pooling = load_encoder(
        str(save_tiny_model(tmp_path / "c", pooling="cls_token")), device="cpu", precision="fp32"
    )
    other_prompt = load_encoder(
        str(save_tiny_model(tmp_path / "d", prompts={"query": "query : "})), device="cpu", precision="fp32"
    )
    other_network = load_encoder(
        str(_changed(save_tiny_model(tmp_path / "e"), layer_norm_eps=0.1)), device="cpu", precision="fp32"
    )
    moved = load_encoder(
        str(_changed(save_tiny_model(tmp_path / "f"), transformers_version="9")), device="cpu", precision="fp32"
    )
    assert one.fingerprint == same.fingerprint == moved.fingerprint
    others = {other.fingerprint for other in (other_pooling, other_prompt, other_network)}
    assert len(others | {one.fingerprint}) == 4


def test_the_default_model_is_checked_by_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embedder.loading.model_folder", lambda _: save_tiny_model(tmp_path / "m"))
    with pytest.raises(ModelError, match="expected 53aa5117"):
        load_encoder(device="cpu", precision="fp32")


def _without(name: str) -> object:
    return lambda folder: (folder / name).unlink()


def _with_module(module: str) -> object:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        write_json(
            folder / "modules.json", [*modules, {"path": "9_X", "type": f"sentence_transformers.models.{module}"}]
        )

    return change


def _changed(folder: Path, **settings: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | settings)
    return folder


def _with_dense(**settings: object) -> object:
    def change(folder: Path) -> None:
        config = json.loads((folder / "2_Dense" / "config.json").read_text())
        write_json(folder / "2_Dense" / "config.json", config | settings)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("tokenizer.json"), "has no tokenizer.json"),
        (_without("config.json"), "has no config.json"),
        (_without("model.safetensors"), "has no weights"),
        (_with_module("LSTM"), "module LSTM is not supported"),
        (lambda folder: (folder / "modules.json").write_text("{"), "modules.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 64), r"model\.safetensors: .*header"),
        (
            lambda folder: write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": ["max", "mean"]}),
            "pooling max with mean is not supported",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), r"tokenizer\.json: EOF"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe"), r"tokenizer\.json: 'utf-8'"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), r"tokenizer_config\.json: Expecting"),
        (lambda folder: write_json(folder / "tokenizer_config.json", []), "must hold a JSON object"),
        (lambda folder: write_json(folder / "config.json", []), r"config\.json must hold a JSON object"),
        (lambda folder: _changed(folder, num_attention_heads=3), "the weights do not fit the config.json"),
        (lambda folder: write_json(folder / "modules.json", ["x"]), "each with a path and a type"),
        (lambda folder: write_json(folder / "modules.json", [{"type": "Transformer"}]), "each with a path and a type"),
        (lambda folder: write_json(folder / "modules.json", []), "first module must be a Transformer"),
        (lambda folder: write_json(folder / "sentence_bert_config.json", {"max_seq_length": -5}), "above 0"),
        (lambda folder: write_json(folder / "sentence_bert_config.json", {"max_seq_length": "a"}), "above 0"),
        (lambda folder: write_json(folder / "config_sentence_transformers.json", {"prompts": ["a"]}), "prompts must"),
        (lambda folder: (folder / "2_Dense" / "model.safetensors").write_bytes(b"\0" * 64), r"2_Dense.*header"),
        (_with_dense(in_features=9), "size mismatch"),
        (_with_dense(in_features="a"), r"2_Dense.*invalid literal"),
        (_with_dense(activation_function="torch.nn.Foo"), "activation torch.nn.Foo"),
        (_with_dense(activation_function="torch.nn.nope.Foo"), "activation torch.nn.nope.Foo"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, damage: object, message: str) -> None:
    folder = save_tiny_model(tmp_path / "m", dense="torch.nn.modules.linear.Identity")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        load_encoder(str(folder), device="cpu", precision="fp32")


def test_a_missing_folder_and_an_unknown_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        load_encoder(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="'gpu9' cannot be used: allowed are auto, cpu"):
        load_encoder(str(save_tiny_model(tmp_path / "m")), device="gpu9")


def test_behind_a_linear_dense_layer_the_trace_still_gives_the_embedding(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", dense=IDENTITY)), device="cpu", precision="fp32")
    prompts = [Prompt.of("red car"), Prompt.of("the wolf")]
    traces = encoder.trace(prompts, Representation.DOCUMENT)
    assert traces is not None
    found = encoder.encode(prompts, Representation.DOCUMENT).vectors
    for trace, vector in zip(traces, found, strict=True):
        assert np.allclose(parts(trace).sum(axis=0), vector, atol=1e-5)
    curved = load_encoder(str(save_tiny_model(tmp_path / "n", dense=TANH)), device="cpu", precision="fp32")
    assert curved.trace(prompts, Representation.DOCUMENT) is None
