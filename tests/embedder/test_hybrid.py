"""Dense and sparse vectors of one pass, against the plain formulas."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from core.errors import InvalidControl, ModelError
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.protocols import HybridEncoder
from core.records import Representation
from embedder.hybrid import HybridModel, load_hybrid
from embedder.kinds import ModelKind, model_kind
from embedder.loading import load_model
from tests.embedder.tiny import write_json
from tests.embedder.tinysparse import save_tiny_hybrid

DOCUMENT = Representation.DOCUMENT
TEXTS = ["the red car the car", "i want to play on my tv unheardof : a blue game console", "house", "wolf train " * 15]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_hybrid(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def model(folder: Path) -> HybridModel:
    return load_hybrid(folder)


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.of(text) for text in texts]


def plain_weights(folder: Path, ids: list[int]) -> dict[int, float]:
    """The formula, token by token, over the vectors of transformers."""
    head = torch.load(folder / "sparse_linear.pt", weights_only=True)
    network = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden = network(torch.tensor([ids])).last_hidden_state[0]
    found: dict[int, float] = {}
    for id_, vector in zip(ids, hidden, strict=True):
        weight = max(0.0, float(vector @ head["weight"][0] + head["bias"][0]))
        if id_ not in (0, 1, 2, 3) and weight > 0:  # [PAD] [UNK] [CLS] [SEP]
            found[id_] = max(found.get(id_, 0.0), weight)
    return found


def test_the_sparse_side_equals_the_plain_formula(folder: Path, model: HybridModel) -> None:
    found = model.encode_sparse(prompts(*TEXTS), DOCUMENT)
    assert any(len(vector.ids) for vector in found.vectors)
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        ids = model.tokenizer.tokenize([Prompt.of(text)])[0].ids.tolist()
        expected = plain_weights(folder, ids)
        assert vector.ids.tolist() == sorted(expected)
        np.testing.assert_allclose(vector.weights, [expected[id_] for id_ in vector.ids.tolist()], atol=1e-5)
    assert found.truncated.tolist() == [False, False, False, True]


def test_the_dense_side_equals_sentence_transformers(folder: Path, model: HybridModel) -> None:
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(model.encode(prompts(*TEXTS), DOCUMENT).vectors, expected, atol=1e-5)
    assert model.dimension == 16
    assert model.trace(prompts("house"), DOCUMENT) is None  # one token's vector, no mean


def test_both_come_out_of_one_forward_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_hybrid(folder)
    assert isinstance(model, HybridEncoder)
    backbone = model._forward.backbone
    passes: list[int] = []
    original = type(backbone).hidden

    def counted(self: object, ids: list[np.ndarray], *rest: object) -> torch.Tensor:
        passes.append(len(ids))
        return original(self, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(backbone), "hidden", counted)
    dense, sparse = model.encode_hybrid(prompts(*TEXTS), DOCUMENT)
    assert passes == [len(TEXTS)]
    np.testing.assert_array_equal(dense.vectors, model.encode(prompts(*TEXTS), DOCUMENT).vectors)
    for vector, other in zip(sparse.vectors, model.encode_sparse(prompts(*TEXTS), DOCUMENT).vectors, strict=True):
        np.testing.assert_array_equal(vector.ids, other.ids)
        np.testing.assert_array_equal(vector.weights, other.weights)
    assert sparse.token_counts.tolist() == dense.token_counts.tolist()


def test_a_factor_scales_the_weight_of_its_token(model: HybridModel) -> None:
    text = "the red car the car"
    plain = model.encode_sparse(prompts(text), DOCUMENT).vectors[0]
    red = model.tokenizer.ids("red")[0]
    pool = ControlOptions(target=ControlTarget.POOL)
    for factor in (0.0, 0.5, 3.0):
        steered = Prompt.of(text, (TextControl(start=4, length=3, factor=factor),))
        vector = model.encode_sparse([steered], DOCUMENT, options=pool).vectors[0]
        expected = dict(zip(plain.ids.tolist(), plain.weights.tolist(), strict=True))
        assert red in expected
        expected[red] *= factor
        found = dict(zip(vector.ids.tolist(), vector.weights.tolist(), strict=True))
        assert found == pytest.approx({id_: weight for id_, weight in expected.items() if weight})


def test_traces_say_which_occurrence_made_the_weight(model: HybridModel) -> None:
    text = "the red car the car"
    vector = model.encode_sparse(prompts(text), DOCUMENT).vectors[0]
    trace = model.trace_sparse(prompts(text), DOCUMENT, [vector.ids])[0]
    np.testing.assert_allclose(trace.activations.max(axis=0), vector.weights, rtol=1e-6)
    ids = model.tokenizer.tokenize(prompts(text))[0].ids
    assert ((trace.activations > 0) <= (ids[:, None] == vector.ids)).all()


def test_controls_on_what_is_no_mean_are_refused(model: HybridModel) -> None:
    steered = [Prompt.of("the red car", (TextControl(start=4, length=3, factor=0.5),))]
    for target in (ControlTarget.POOL, ControlTarget.BOTH):
        with pytest.raises(InvalidControl, match=r"first token's, not a mean"):
            model.encode(steered, DOCUMENT, options=ControlOptions(target=target))
    changed = model.encode(steered, DOCUMENT).vectors[0]
    assert np.abs(changed - model.encode(prompts("the red car"), DOCUMENT).vectors[0]).max() > 1e-3


def test_kinds_names_and_fingerprints(folder: Path, model: HybridModel, tmp_path: Path) -> None:
    assert model_kind(folder) is ModelKind.HYBRID
    loaded = load_model(folder, name="mine")
    assert isinstance(loaded, HybridModel)
    assert (loaded.name, loaded.fingerprint) == ("mine", model.fingerprint)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "sparse_linear.pt").unlink()
    save_file({"weight": torch.ones(1, 16), "bias": torch.zeros(1)}, other / "sparse_linear.safetensors")
    assert load_hybrid(other).fingerprint != model.fingerprint
    (other / "modules.json").unlink()  # the network alone: pooled by its first token all the same
    np.testing.assert_allclose(
        load_hybrid(other).encode(prompts(*TEXTS[:3]), DOCUMENT).vectors,
        model.encode(prompts(*TEXTS[:3]), DOCUMENT).vectors,
        atol=1e-5,
    )


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02cos\nsystem\n."])
def test_a_head_that_is_no_tensors_is_refused(content: bytes, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "sparse_linear.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"sparse_linear\.pt"):
        load_hybrid(other)


def test_a_head_of_another_shape_or_another_pooling_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    torch.save({"weight": torch.ones(1, 8), "bias": torch.zeros(1)}, other / "sparse_linear.pt")
    with pytest.raises(ModelError, match="one linear unit over 16 inputs"):
        load_hybrid(other)
    write_json(other / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    with pytest.raises(ModelError, match="must be pooled by cls"):
        load_hybrid(other)
