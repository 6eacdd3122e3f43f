"""Fewer dimensions: the shipped projection, the user's own, and models that are cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from core.errors import InvalidInput, ModelError
from core.prompts import Prompt, TextControl
from core.records import Representation
from embedder.attribution import parts
from embedder.kinds import DEFAULT_NAME
from embedder.loading import Overrides, load_encoder
from embedder.local import LocalEncoder
from embedder.projection import CompressedEncoder, compressed, projected, sizes, space
from embedder.projectionfile import SecondMoment, projection_file, read_projection, write_projection
from tests.embedder.tiny import save_tiny_model, write_json
from tests.embedder.tokenmatrix import token_matrix

TEXTS = ["i want to play on my tv", "the wolf", "a red car", "movie", "blue house on the train"]
PROMPTS = [Prompt.of(text) for text in TEXTS]


def tiny(folder: Path, **st_config: object) -> LocalEncoder:
    return load_encoder(str(save_tiny_model(folder, **st_config)), device="cpu", precision="fp32")  # type: ignore[arg-type]


def fit_tiny(encoder: LocalEncoder, folder: Path, size: int = 4) -> Path:
    moment = SecondMoment(encoder.dimension)
    moment.add(np.random.default_rng(1).normal(size=(200, encoder.dimension)).astype(np.float32))
    return write_projection(folder, moment.fit(size, space=space(encoder), model=encoder.name))


def test_the_default_model_comes_with_128_dimensions(encoder: LocalEncoder) -> None:
    small = compressed(encoder, 128)
    texts = ["a cat sat on the mat", "a kitten on a rug", "interest rates rose again"]
    vectors = small.encode([Prompt.of(text) for text in texts], Representation.DOCUMENT).vectors
    assert vectors.shape == (3, 128)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert vectors[0] @ vectors[1] > 0.4 > vectors[0] @ vectors[2]
    assert small.fingerprint != encoder.fingerprint
    assert (small.name, small.max_tokens) == (encoder.name, encoder.max_tokens)
    assert sizes(encoder) == (384, 128)
    assert compressed(encoder, 384) is encoder


def test_the_shipped_projection_is_orthonormal(encoder: LocalEncoder) -> None:
    matrix = compressed(encoder, 128)._projection  # type: ignore[attr-defined]
    assert np.abs(matrix @ matrix.T - np.eye(128)).max() < 1e-5


def test_explanations_of_compressed_vectors_add_up(encoder: LocalEncoder) -> None:
    small = compressed(encoder, 128)
    prompts = [Prompt.of("red shoes", (TextControl(start=0, length=3, factor=4),)), Prompt.of("a pair of shoes")]
    found = small.encode(prompts, Representation.QUERY).vectors
    traces = small.trace(prompts, Representation.QUERY)
    assert traces is not None
    for trace, vector in zip(traces, found, strict=True):
        assert np.abs(parts(trace).sum(axis=0) - vector).max() < 1e-5
    assert token_matrix(*traces).sum() == pytest.approx(float(found[0] @ found[1]), abs=1e-5)


def test_a_size_that_is_not_there_names_the_command(encoder: LocalEncoder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        compressed(encoder, 64)
    assert raised.value.param == "dimension"
    assert "allowed are 384 and 128" in raised.value.message
    assert f"salience models fit {DEFAULT_NAME} --size 64 TEXTS" in raised.value.message
    for size in (0, -1, 512):
        with pytest.raises(InvalidInput, match=r"allowed are 384 and 128$"):
            compressed(encoder, size)
    with pytest.raises(InvalidInput, match=r"allowed are 16; .* models fit m --size 4 TEXTS"):
        compressed(tiny(tmp_path / "m"), 4)


def test_a_projection_of_ones_own(tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "m")
    file = fit_tiny(encoder, tmp_path / "fitted")
    assert file == tmp_path / "fitted" / f"{encoder.fingerprint}-4.safetensors"
    small = compressed(encoder, 4, fitted=tmp_path / "fitted")
    whole = encoder.encode(PROMPTS, Representation.QUERY)
    found = small.encode(PROMPTS, Representation.QUERY)
    images = whole.vectors @ load_file(file)["projection"].T
    assert np.abs(found.vectors - images / np.linalg.norm(images, axis=1, keepdims=True)).max() < 1e-6
    assert found.token_counts.tolist() == whole.token_counts.tolist()
    assert sizes(encoder, fitted=tmp_path / "fitted") == (16, 4)
    assert small.token_spans("red car").tolist() == encoder.token_spans("red car").tolist()
    assert small.overhead(Representation.QUERY) == encoder.overhead(Representation.QUERY)


def test_a_projection_fitted_anew_is_used_and_changes_the_fingerprint(tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "m")
    fit_tiny(encoder, tmp_path)
    before = compressed(encoder, 4, fitted=tmp_path)
    moment = SecondMoment(16)
    moment.add(np.random.default_rng(2).normal(size=(200, 16)).astype(np.float32))
    write_projection(tmp_path, moment.fit(4, space=space(encoder), model="m"))
    after = compressed(encoder, 4, fitted=tmp_path)
    assert before.fingerprint != after.fingerprint
    assert not list(tmp_path.glob("*.tmp"))


def test_a_model_is_loaded_with_fewer_dimensions(tmp_path: Path) -> None:
    whole = tiny(tmp_path / "m")
    fit_tiny(whole, tmp_path / "fitted")
    loaded = load_encoder(
        str(tmp_path / "m"),
        device="cpu",
        precision="fp32",
        overrides=Overrides(dimension=4),
        fitted=tmp_path / "fitted",
    )
    small = compressed(whole, 4, fitted=tmp_path / "fitted")
    assert loaded.dimension == 4
    assert loaded.fingerprint == small.fingerprint
    found = loaded.encode(PROMPTS, Representation.QUERY).vectors
    assert np.abs(found - small.encode(PROMPTS, Representation.QUERY).vectors).max() < 1e-5
    traces = loaded.trace(PROMPTS, Representation.QUERY)
    assert traces is not None
    assert np.abs(parts(traces[0]).sum(axis=0) - found[0]).max() < 1e-5
    with pytest.raises(ModelError, match="dimension 99 cannot be had, the model's vectors have 16"):
        load_encoder(str(tmp_path / "m"), device="cpu", precision="fp32", overrides=Overrides(dimension=99))


def test_truncate_dim_of_the_folder_is_what_sentence_transformers_does(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", truncate_dim=6)
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    encoder = load_encoder(str(folder), device="cpu", precision="fp32")
    assert encoder.dimension == 6
    assert np.abs(encoder.encode(PROMPTS, Representation.DOCUMENT).vectors - expected).max() < 1e-5


CARD = """---
tags:
- loss:MatryoshkaLoss
---
```json
{
  "matryoshka_dims": [
    16,
    8,
    4
  ]
}
```
"""


@pytest.mark.parametrize("where", ["config.json", "config_sentence_transformers.json", "README.md"])
def test_matryoshka_models_are_cut(tmp_path: Path, where: str) -> None:
    folder = save_tiny_model(tmp_path / "m")
    if where == "README.md":
        (folder / where).write_text(CARD)
    else:
        config = json.loads((folder / where).read_text()) if (folder / where).is_file() else {}
        write_json(folder / where, config | {"matryoshka_dimensions": [4, 8, 16]})
    encoder = load_encoder(str(folder), device="cpu", precision="fp32")
    small = compressed(encoder, 8)
    expected = SentenceTransformer(str(folder), device="cpu", truncate_dim=8).encode(TEXTS, normalize_embeddings=True)
    assert np.abs(small.encode(PROMPTS, Representation.DOCUMENT).vectors - expected).max() < 1e-5
    assert sizes(encoder) == (16, 8, 4)
    with pytest.raises(InvalidInput, match="allowed are 16 and 8 and 4; to add 5"):
        compressed(encoder, 5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"truncate_dim": 0}, "truncate_dim must be a number above 0"),
        ({"truncate_dim": "4"}, "truncate_dim must be a number above 0"),
        ({"truncate_dim": 17}, "dimension 17 cannot be had"),
        ({"matryoshka_dims": 8}, "matryoshka_dims must be a list"),
    ],
)
def test_nonsense_in_the_folder_is_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny(tmp_path / "m", **config)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "m")
    file = fit_tiny(encoder, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"is damaged: .* fit it anew"):
        compressed(encoder, 4, fitted=tmp_path)
    file.write_bytes(whole[:40])
    with pytest.raises(ModelError, match="is no projection"):
        compressed(encoder, 4, fitted=tmp_path)
    save_file({"other": np.zeros(3, dtype=np.float32)}, file)
    with pytest.raises(ModelError, match="is no projection"):
        compressed(encoder, 4, fitted=tmp_path)


def test_a_fit_is_the_principal_components_without_centring() -> None:
    vectors = np.random.default_rng(3).normal(size=(300, 12)).astype(np.float32) + np.float32(0.5)
    moment = SecondMoment(12)
    for part in np.array_split(vectors, 7):
        moment.add(part)
    found = moment.fit(5, space="s", model="m")
    _, strengths, rows = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    assert np.abs(np.abs(found.matrix @ rows[:5].T) - np.eye(5)).max() < 1e-4  # the same directions, signs aside
    assert found.kept == pytest.approx((strengths[:5] ** 2).sum() / (strengths**2).sum(), abs=1e-6)
    assert found.texts == 300


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (39, 4, "39 different texts are too few to fit 4 dimensions: at least 40"),
        (500, 16, "size 16: must be from 1 to 15"),
        (500, 0, "size 0: must be"),
    ],
)
def test_what_cannot_be_fitted_is_refused(texts: int, size: int, message: str) -> None:
    moment = SecondMoment(16)
    moment.add(np.ones((texts, 16), dtype=np.float32))
    with pytest.raises(InvalidInput, match=message):
        moment.fit(size, space="s", model="m")


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    moment = SecondMoment(8)
    moment.add(np.random.default_rng(4).normal(size=(90, 8)).astype(np.float32))
    fitted = moment.fit(3, space="abc", model="the model")
    file = write_projection(tmp_path / "new" / "folder", fitted)
    found = read_projection(file)
    assert file == projection_file(tmp_path / "new" / "folder", "abc", 3)
    assert np.array_equal(found.matrix, fitted.matrix)
    assert (found.space, found.model, found.texts) == ("abc", "the model", 90)
    assert found.kept == pytest.approx(fitted.kept, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 6), elements=st.floats(-1, 1, width=32)))
def test_projected_vectors_have_unit_length_or_none(vectors: np.ndarray) -> None:
    matrix = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0][:2].astype(np.float32)
    found = projected(vectors, matrix)
    lengths = np.linalg.norm(found, axis=1)
    clear = np.linalg.norm(vectors @ matrix.T, axis=1) > 1e-6
    assert np.isfinite(found).all()
    assert lengths[clear] == pytest.approx(1, abs=1e-4)


def test_compression_can_be_repeated(tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "m")
    fit_tiny(encoder, tmp_path, size=8)
    small = compressed(encoder, 8, fitted=tmp_path)
    assert isinstance(small, CompressedEncoder)
    assert sizes(small, fitted=tmp_path) == (8,)
    assert compressed(small, 8) is small
