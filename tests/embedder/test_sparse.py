"""Learned sparse vectors against sentence-transformers and against the plain formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SparseEncoder
from transformers import AutoModelForMaskedLM

import embedder.sparse
from core.errors import InvalidControl, InvalidInput, ModelError
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl, TokenIdsItem
from core.records import Float32Array, Representation, SparseVector, TermPooling
from embedder.bertgraph import ACTIVATIONS
from embedder.generichead import load_generic_masked
from embedder.kinds import ModelKind
from embedder.loading import load_model
from embedder.sparse import SparseModel, load_sparse
from tests.embedder.tiny import SIZES, save_tiny_model, write_json
from tests.embedder.tinysparse import save_tiny_masked

DOCUMENT, QUERY = Representation.DOCUMENT, Representation.QUERY
TEXTS = [
    "the red car",
    "i want to play on my tv : a blue game console ; the wolf train",
    "house",
    "a movie to play on the tv " * 5,  # cut
    "wolf train",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    return load_sparse(save_tiny_masked(tmp_path_factory.mktemp("model") / "m"))


def full(vector: SparseVector, vocabulary: int = 40) -> Float32Array:
    """(vocabulary,) with the zeros."""
    assert (np.diff(vector.ids) > 0).all()
    assert (vector.weights > 0).all()
    assert (vector.ids.dtype, vector.weights.dtype) == (np.int32, np.float32)
    weights = np.zeros(vocabulary, dtype=np.float32)
    weights[vector.ids] = vector.weights
    return weights


def oracle_weights(folder: Path, texts: list[str]) -> Float32Array:
    """(texts, vocabulary)"""
    found = SparseEncoder(str(folder), device="cpu").encode(texts, convert_to_tensor=True, show_progress_bar=False)
    weights: Float32Array = found.to_dense().numpy()
    return weights


def encoded(model: SparseModel, *texts: str, target: ControlTarget = ControlTarget.AUTO) -> list[Float32Array]:
    found = model.encode_sparse([Prompt.of(text) for text in texts], DOCUMENT, options=ControlOptions(target=target))
    return [full(vector) for vector in found.vectors]


@pytest.mark.parametrize(
    ("kind", "pooling", "activation"),
    [
        ("bert", "max", "relu"),
        ("bert", "sum", "relu"),
        ("bert", "max", "log1p_relu"),
        ("bert", "sum", "log1p_relu"),
        ("xlm-roberta", "max", "relu"),
        ("mpnet", "max", "relu"),
        ("distilbert", "sum", "log1p_relu"),
        ("modernbert", "max", "relu"),
        ("deberta-v2", "max", "relu"),
    ],
)
def test_weights_equal_those_of_sentence_transformers(kind: str, pooling: str, activation: str, tmp_path: Path) -> None:
    folder = save_tiny_masked(tmp_path / "m", kind, pooling=pooling, activation=activation)
    expected = oracle_weights(folder, TEXTS)
    found = load_sparse(folder, device="cpu").encode_sparse([Prompt.of(text) for text in TEXTS], DOCUMENT)
    assert (expected > 0).any(axis=1).all()
    for vector, row in zip(found.vectors, expected, strict=True):
        np.testing.assert_allclose(full(vector), row, rtol=1e-5, atol=1e-5)
    assert found.truncated.tolist() == [False, False, False, True, False]
    assert found.token_counts.tolist() == [5, 18, 3, 20, 4]


def test_the_real_model_equals_sentence_transformers(splade: Path) -> None:
    texts = ["what is a whale", "The gaming console plays games on your TV.", "Ä", "word " * 600]
    oracle = oracle_weights(splade, texts)
    model = load_sparse(splade, device="cpu")
    found = model.encode_sparse([Prompt.of(text) for text in texts], DOCUMENT)
    for vector, row in zip(found.vectors, oracle, strict=True):
        np.testing.assert_allclose(full(vector, len(row)), row, atol=1e-5)
    strongest = int(found.vectors[0].ids[found.vectors[0].weights.argmax()])
    assert model.token(strongest) == "whale"


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_plain_masked_language_model_is_read_as_the_usual_form(kind: str, tmp_path: Path) -> None:
    folder = save_tiny_masked(tmp_path / "m", kind, pooling=None)
    model = load_model(folder, kind=ModelKind.SPARSE)
    assert isinstance(model, SparseModel)
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    for text, found in zip(TEXTS, encoded(model, *TEXTS), strict=True):
        ids = torch.tensor([model.tokenizer.tokenize([Prompt.of(text)])[0].ids.tolist()])
        with torch.inference_mode():
            logits = network(ids).logits[0]
        np.testing.assert_allclose(found, torch.log1p(logits.relu()).amax(dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("target", [ControlTarget.POOL, ControlTarget.AUTO])
def test_a_factor_multiplies_what_its_token_says(pooling: str, target: ControlTarget, tmp_path: Path) -> None:
    """w_j = max or sum of f_i log(1 + relu(l_ij)), from logits of transformers where the attention is left alone."""
    folder = save_tiny_masked(tmp_path / "m", pooling=pooling)
    model = load_sparse(folder)
    text = "the red car"
    controls = (TextControl(start=4, length=3, factor=2.5), TextControl(start=8, length=3, factor=0.25))
    steered = model.encode_sparse([Prompt.of(text, controls)], DOCUMENT, options=ControlOptions(target=target))
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids = torch.tensor([model.tokenizer.tokenize([Prompt.of(text)])[0].ids.tolist()])
    with torch.inference_mode():
        said = torch.log1p(network(ids).logits[0].relu()) * torch.tensor([1, 1, 2.5, 0.25, 1])[:, None]
    expected = (said.amax(dim=0) if pooling == "max" else said.sum(dim=0)).numpy()
    if target is ControlTarget.POOL:
        np.testing.assert_allclose(full(steered.vectors[0]), expected, rtol=1e-5, atol=1e-5)
    else:
        assert np.abs(full(steered.vectors[0]) - expected).max() > 0.01


def test_a_suppressed_token_leaves_no_trace(model: SparseModel) -> None:
    assert model.support.attention
    control = (TextControl(start=4, length=3, factor=0.0),)
    first, second, unsteered = (
        full(model.encode_sparse([Prompt.of(text, given)], QUERY).vectors[0])
        for text, given in (("the red car", control), ("the tv  car", (TextControl(start=4, length=2, factor=0.0),)),
                            ("the red car", ()))
    )  # fmt: skip
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - unsteered).max() > 0.1


def test_what_a_text_is_batched_with_does_not_matter(model: SparseModel) -> None:
    prompts = [Prompt.of(text) for text in TEXTS]
    prompts[2] = Prompt.of("house", (TextControl(start=0, length=5, factor=4.0),))
    together = model.encode_sparse(prompts, DOCUMENT).vectors
    shuffled = model.encode_sparse(prompts[::-1], DOCUMENT).vectors[::-1]
    for prompt, vector, other in zip(prompts, together, shuffled, strict=True):
        alone = full(model.encode_sparse([prompt], DOCUMENT).vectors[0])
        np.testing.assert_allclose(full(vector), alone, atol=1e-5)
        np.testing.assert_allclose(full(other), alone, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_long_text_is_pooled_piece_by_piece(
    pooling: str, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_sparse(save_tiny_masked(tmp_path / "m", pooling=pooling))
    prompt = Prompt.of(TEXTS[1], (TextControl(start=2, length=20, factor=factor),))
    whole = full(model.encode_sparse([prompt], DOCUMENT).vectors[0])
    monkeypatch.setattr(embedder.sparse, "LOGITS_AT_ONCE", 40 * 3)
    np.testing.assert_allclose(full(model.encode_sparse([prompt], DOCUMENT).vectors[0]), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_traces_pool_to_the_weights(pooling: str, tmp_path: Path) -> None:
    model = load_sparse(save_tiny_masked(tmp_path / "m", pooling=pooling))
    prompts = [
        Prompt.of("the red car", (TextControl(start=4, length=3, factor=2.0),)),
        Prompt.of("wolf train"),
    ]
    vectors = model.encode_sparse(prompts, DOCUMENT).vectors
    terms = [vectors[0].ids, vectors[1].ids[:2]]
    traces = model.trace_sparse(prompts, DOCUMENT, terms)
    for trace, vector, ids in zip(traces, vectors, terms, strict=True):
        assert trace.pooling is TermPooling(pooling)
        pooled = trace.activations.max(axis=0) if pooling == "max" else trace.activations.sum(axis=0)
        np.testing.assert_allclose(pooled, full(vector)[ids], rtol=1e-5)
    assert traces[0].spans.tolist() == [[0, 0], [0, 3], [4, 7], [8, 11], [0, 0]]
    assert traces[0].special.tolist() == [True, False, False, False, True]
    beyond = np.array([40, 3, 2**31 - 1], dtype=np.int32)  # a tokenizer may have more tokens than the head
    [trace] = model.trace_sparse(prompts[1:], DOCUMENT, [beyond])
    [alone] = model.trace_sparse(prompts[1:], DOCUMENT, [beyond[1:2]])
    np.testing.assert_array_equal(trace.activations[:, 1:2], alone.activations)
    assert not trace.activations[:, ::2].any()


def test_token_ids_and_prefixes(tmp_path: Path) -> None:
    folder = save_tiny_masked(tmp_path / "m")
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query : "}})
    model = load_sparse(folder)
    whole = full(model.encode_sparse([Prompt.of("query : red car")], DOCUMENT).vectors[0])
    np.testing.assert_allclose(full(model.encode_sparse([Prompt.of("red car")], QUERY).vectors[0]), whole, atol=1e-6)
    ids = TokenIdsItem(ids=tuple(model.tokenizer.ids("query : red car")))
    np.testing.assert_allclose(full(model.encode_sparse([Prompt(items=(ids,))], DOCUMENT).vectors[0]), whole, atol=1e-6)
    assert model.overhead(QUERY) == 4
    assert model.overhead(DOCUMENT) == 2
    assert model.token(int(ids.ids[2])) == "red"
    with pytest.raises(InvalidInput, match="token id 9999"):
        model.token(9999)


@pytest.mark.parametrize(("kind", "before"), [("bert", 0), ("xlm-roberta", 2), ("mpnet", 2)])
def test_a_head_of_transformers_has_the_positions_that_its_network_has(kind: str, before: int, tmp_path: Path) -> None:
    """As it runs on CUDA. XLM-RoBERTa and MPNet count from behind the padding token, id 1 and, in transformers, 1."""
    settings = {"pad_token_id": 1} if kind == "xlm-roberta" else {}
    found = load_generic_masked(save_tiny_masked(tmp_path / "m", kind, **settings), torch.device("cpu"))
    assert found.positions == SIZES["max_position_embeddings"] - before
    ids = np.full(found.positions + 1, 5)
    assert found.backbone.hidden([ids[:-1]]).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        found.backbone.hidden([ids])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_head_has_every_activation_that_its_network_may_have(activation: str, tmp_path: Path) -> None:
    folder = save_tiny_masked(tmp_path / "m", hidden_act=activation)
    found = load_sparse(folder, device="cpu").encode_sparse([Prompt.of("the red car")], DOCUMENT).vectors[0]
    np.testing.assert_allclose(full(found), oracle_weights(folder, ["the red car"])[0], rtol=1e-4, atol=1e-4)


def test_no_prompts_and_progress(model: SparseModel) -> None:
    assert model.encode_sparse([], DOCUMENT).vectors == ()
    done: list[int] = []
    model.encode_sparse([Prompt.of(text) for text in TEXTS], DOCUMENT, progress=done.append)
    assert sum(done) == len(TEXTS)


def test_the_fingerprint_names_the_form_and_the_weights(tmp_path: Path) -> None:
    folders = [
        save_tiny_masked(tmp_path / "a"),
        save_tiny_masked(tmp_path / "b", pooling="sum"),
        save_tiny_masked(tmp_path / "c", activation="log1p_relu"),
        save_tiny_masked(tmp_path / "same"),
    ]
    prints = [load_sparse(folder).fingerprint for folder in folders]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]
    file = folders[3] / "model.safetensors"
    weights = load_file(file)
    save_file({name: tensor + 0.01 for name, tensor in weights.items()}, file, {"format": "pt"})
    assert load_sparse(folders[3]).fingerprint not in prints


def test_controls_that_cannot_act_are_refused(tmp_path: Path) -> None:
    """MPNet keeps its own attention: only what tokens say can be scaled."""
    model = load_sparse(save_tiny_masked(tmp_path / "m", "mpnet"))
    assert (model.support.attention, model.support.pool) == (False, True)
    prompt = Prompt.of("the red car", (TextControl(start=4, length=3, factor=0.0),))
    for target in (ControlTarget.ATTENTION, ControlTarget.BOTH):
        with pytest.raises(InvalidControl, match=f"does not take controls on {target.value}"):
            model.encode_sparse([prompt], DOCUMENT, options=ControlOptions(target=target))
    steered = full(model.encode_sparse([prompt], DOCUMENT).vectors[0])
    assert np.abs(steered - encoded(model, "the red car")[0]).max() > 0.1


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_folder_without_the_head_is_refused(kind: str, tmp_path: Path) -> None:
    """transformers would make up a head at random, and the vectors would mean nothing."""
    folder = save_tiny_masked(tmp_path / "m", kind)
    weights = load_file(folder / "model.safetensors")
    kept = {n: t for n, t in weights.items() if not n.startswith(("cls.", "vocab_transform", "vocab_layer_norm"))}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="masked language model"):
        load_sparse(folder)


def test_unusable_folders_say_why(tmp_path: Path) -> None:
    folder = save_tiny_masked(tmp_path / "pooling", pooling="mean")
    with pytest.raises(ModelError, match="'mean' with activation 'relu' is not supported; supported are max and sum"):
        load_sparse(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "somewhere.Mystery"
    write_json(folder / "modules.json", modules)
    with pytest.raises(ModelError, match="module Mystery is not supported"):
        load_sparse(folder)
    dense = save_tiny_model(tmp_path / "dense", dense="torch.nn.modules.linear.Identity")
    with pytest.raises(ModelError, match="dense layer"):
        load_sparse(dense)
    with pytest.raises(ModelError, match="is not a folder"):
        load_sparse(tmp_path / "nowhere")
