"""What real folders say of pooling, prompts and layers, held to sentence-transformers; what users say instead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import AutoModel

from core.errors import InvalidControl, ModelError
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Representation
from embedder.attribution import parts
from embedder.loading import Overrides, load_encoder, load_model
from embedder.local import LocalEncoder
from embedder.modelfolder import Pooling as OurPooling
from embedder.modelfolder import read_model_folder
from tests.embedder.classifiers import save_classifier
from tests.embedder.tiny import save_tiny_model, write_json

TEXTS = ["i want to play on my tv", "the wolf", "a red car " * 20, "movie"]
PROMPTS = [Prompt.of(text) for text in TEXTS]


def load(folder: Path, **overrides: object) -> LocalEncoder:
    return load_encoder(str(folder), device="cpu", precision="fp32", overrides=Overrides(**overrides))  # type: ignore[arg-type]


def set_pooling(folder: Path, **config: object) -> Path:
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **config})
    return folder


def agree(encoder: LocalEncoder, folder: Path, prompt: str | None = None) -> None:
    oracle = SentenceTransformer(str(folder), device="cpu")
    expected = oracle.encode(TEXTS, prompt=prompt, normalize_embeddings=True)
    kind = Representation.QUERY if prompt else Representation.DOCUMENT
    assert np.abs(encoder.encode(PROMPTS, kind).vectors - expected).max() < 1e-5


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_poolings_with_and_without_the_prompt(tmp_path: Path, mode: str, include_prompt: bool) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "query : ", "document": ""})
    set_pooling(folder, pooling_mode=mode, include_prompt=include_prompt)
    encoder = load(folder)
    agree(encoder, folder)
    agree(encoder, folder, "query : ")


@pytest.mark.parametrize("mode", ["max_tokens", "weightedmean_tokens", "mean_sqrt_len_tokens", "lasttoken"])
def test_poolings_as_the_first_releases_wrote_them(tmp_path: Path, mode: str) -> None:
    flags = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    folder = set_pooling(save_tiny_model(tmp_path / "m"), **flags)
    agree(load(folder), folder)


def test_a_weighted_mean_is_controlled_and_explained(tmp_path: Path) -> None:
    encoder = load(set_pooling(save_tiny_model(tmp_path / "m"), pooling_mode="weightedmean"))
    assert encoder.support.pool
    steered = Prompt.of("red car", (TextControl(start=0, length=3, factor=0.2),))
    pool = ControlOptions(target=ControlTarget.POOL)
    [trace] = encoder.trace([steered], Representation.DOCUMENT, options=pool) or []
    assert trace.weights == pytest.approx([1, 2 * 0.2, 3, 4])
    found = encoder.encode([steered], Representation.DOCUMENT, options=pool).vectors[0]
    assert np.abs(parts(trace).sum(axis=0) - found).max() < 1e-5


def test_a_maximum_takes_no_pool_control(tmp_path: Path) -> None:
    encoder = load(set_pooling(save_tiny_model(tmp_path / "m"), pooling_mode="max"))
    steered = [Prompt.of("red car", (TextControl(start=0, length=3, factor=0),))]
    assert encoder.trace(steered, Representation.DOCUMENT) is None
    with pytest.raises(InvalidControl, match="pooling is not a mean"):
        encoder.encode(steered, Representation.DOCUMENT, options=ControlOptions(target=ControlTarget.POOL))


def test_vectors_have_unit_length_with_and_without_normalize(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    with_module = load(folder).encode(PROMPTS, Representation.DOCUMENT).vectors
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", modules[:2])
    without = load(folder).encode(PROMPTS, Representation.DOCUMENT).vectors
    assert np.array_equal(with_module, without)
    assert np.linalg.norm(without, axis=1) == pytest.approx(1, abs=1e-6)


def test_what_the_installed_release_saves_is_read(tmp_path: Path) -> None:
    plain = save_tiny_model(tmp_path / "plain")
    modules = [Transformer(str(plain), max_seq_length=9), Pooling(16, "cls"), Dense(16, 5), Normalize()]
    made = SentenceTransformer(modules=modules, prompts={"query": "query : "}, device="cpu")
    made.save_pretrained(str(tmp_path / "m"))
    encoder = load(tmp_path / "m")
    assert (encoder.dimension, encoder.max_tokens) == (5, 9)
    agree(encoder, tmp_path / "m")
    agree(encoder, tmp_path / "m", "query : ")


def test_dense_weights_of_the_first_releases(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", dense="torch.nn.modules.activation.Tanh")
    from safetensors.torch import load_file

    weights = load_file(folder / "2_Dense" / "model.safetensors")
    (folder / "2_Dense" / "model.safetensors").unlink()
    torch.save(weights, folder / "2_Dense" / "pytorch_model.bin")
    agree(load(folder), folder)


def test_settings_file_named_after_the_network(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "xlm-roberta")
    (folder / "sentence_bert_config.json").rename(folder / "sentence_xlm-roberta_config.json")
    write_json(folder / "sentence_xlm-roberta_config.json", {"max_seq_length": 7})
    assert load(folder).max_tokens == 7


@pytest.mark.parametrize(
    ("architectures", "expected"),
    [(["BertModel"], OurPooling.MEAN), (["Qwen3ForCausalLM"], OurPooling.LAST_TOKEN), (None, OurPooling.MEAN)],
)
def test_a_plain_folder_is_pooled_as_its_architecture_suggests(
    tmp_path: Path, architectures: list[str] | None, expected: OurPooling
) -> None:
    folder = save_tiny_model(tmp_path / "m")
    for file in ("modules.json", "sentence_bert_config.json"):
        (folder / file).unlink()
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"architectures": architectures})
    assert read_model_folder(folder).pooling is expected
    if expected is OurPooling.MEAN:
        agree(load(folder), folder)


def test_the_user_may_say_otherwise(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", prompts={"query": "wolf ", "document": "train "})
    plain = load(folder)
    encoder = load(folder, query_prefix="query : ", document_prefix="", pooling=OurPooling.CLS)
    set_pooling(folder, pooling_mode="cls")
    oracle = SentenceTransformer(str(folder), device="cpu")
    for kind, prompt in (("query", "query : "), ("document", ""), ("symmetric", "query : ")):
        expected = oracle.encode(TEXTS, prompt=prompt)
        assert np.abs(encoder.encode(PROMPTS, Representation(kind)).vectors - expected).max() < 1e-5
    assert encoder.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document", "symmetric"),
    [
        ({"query": "q: ", "passage": "p: "}, None, "q: ", "p: ", "q: "),
        ({"query": "q: ", "document": ""}, "query", "q: ", "", "q: "),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, "q: ", "p: ", "q: "),
        ({"other": "o: "}, "other", "o: ", "o: ", "o: "),
        ({"query": "q: ", "STS": "s: "}, None, "q: ", "", "s: "),
        ({"query": None}, None, "", "", ""),
    ],
)
def test_prompts_by_name(
    tmp_path: Path, prompts: dict[str, str], default: str | None, query: str, document: str, symmetric: str
) -> None:
    found = read_model_folder(save_tiny_model(tmp_path / "m", prompts=prompts, default_prompt_name=default)).prefixes
    assert found == {
        Representation.QUERY: query,
        Representation.DOCUMENT: document,
        Representation.SYMMETRIC: symmetric,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer_task": "text-generation"}, "transformer_task text-generation is not supported here"),
        ({"max_seq_length": 0}, "max_seq_length must be a number above 0"),
    ],
)
def test_other_uses_of_the_network_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = save_tiny_model(tmp_path / "m")
    write_json(folder / "sentence_bert_config.json", change)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize("change", [{"use_residual": True}, {"module_input_name": "token_embeddings"}])
def test_a_dense_module_that_is_not_plain_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = save_tiny_model(tmp_path / "m", dense="torch.nn.modules.linear.Identity")
    config = json.loads((folder / "2_Dense" / "config.json").read_text())
    write_json(folder / "2_Dense" / "config.json", config | change)
    with pytest.raises(ModelError, match="a Dense module must be plain"):
        load(folder)


def test_a_scaled_mean_before_a_layer_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", dense="torch.nn.modules.linear.Identity")
    with pytest.raises(ModelError, match="cannot have a layer behind it"):
        load(set_pooling(folder, pooling_mode="mean_sqrt_len_tokens"))


def test_weights_that_transformers_would_make_up_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "mpnet")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"num_hidden_layers": 3})
    with pytest.raises(ModelError, match=r"the weights lack 'encoder\.layer\.2"):
        load(folder)


@pytest.mark.parametrize("precision", ["bf16", "int8", "nonsense"])
def test_a_precision_is_honoured_or_refused(tmp_path: Path, precision: str) -> None:
    folder = save_classifier(tmp_path / "m")
    with pytest.raises(ModelError, match=f"precision 'nonsense' is unknown|only a dense one computes in {precision}"):
        load_model(folder, device="cpu", precision=precision)
    for other in ("auto", "fp32"):
        load_model(folder, device="cpu", precision=other)


def test_an_encoder_with_a_decoder_behind_it_is_refused(tmp_path: Path) -> None:
    from transformers import BartConfig

    folder = save_tiny_model(tmp_path / "m")
    config = BartConfig(vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2)
    AutoModel.from_config(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="a bart model has a decoder behind its encoder; of such models, t5"):
        load(folder)


def test_only_dense_models_take_overrides(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"architectures": ["BertForSequenceClassification"]})
    with pytest.raises(ModelError, match="holds a reranker model: only a dense one takes"):
        load_model(folder, device="cpu", overrides=Overrides(dimension=8))
