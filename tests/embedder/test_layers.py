"""Pooled layers against transformers' own hidden states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ControlTarget, ImageItem, Prompt, TextControl, TokenIdsItem
from core.records import Float32Array, Representation
from embedder.kinds import model_folder
from embedder.layers import LayeredEncoder, LayerPooling, PooledLayers, pooled_layers
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from tests.embedder.tiny import save_tiny_model

TEXT = "An apple a day keeps the doctor away."
ATTENTION = ControlOptions(target=ControlTarget.ATTENTION)
POOLS = {
    LayerPooling.MEAN: lambda states: states.mean(0),
    LayerPooling.MAX: lambda states: states.max(0),
    LayerPooling.LAST_TOKEN: lambda states: states[-1],
    LayerPooling.ABS_MAX: lambda states: np.abs(states).max(0),
}


def asked(encoder: LayeredEncoder, prompt: Prompt, *layers: int, normalize: bool = False) -> PooledLayers:
    return pooled_layers(
        encoder,
        prompt,
        Representation.SYMMETRIC,
        layers=layers,
        poolings=list(LayerPooling),
        options=ATTENTION,
        normalize=normalize,
    )


@pytest.fixture(scope="module")
def hidden_states(encoder: LocalEncoder) -> list[Float32Array]:
    """Of every layer, for the tokens of TEXT without the special ones around them, by transformers."""
    model = AutoModel.from_pretrained(model_folder("default"), local_files_only=True, dtype=torch.float32).eval()
    ids = [101, *encoder.tokenizer.ids(TEXT), 102]
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return [states[0, 1:-1].numpy() for states in found]


def test_every_layer_and_pooling(encoder: LocalEncoder, hidden_states: list[Float32Array]) -> None:
    found = asked(encoder, Prompt.of(TEXT), *range(7))
    assert found.tokens == "an apple a day keeps the doctor away .".split()
    assert not found.truncated
    for layer, states in enumerate(hidden_states):
        for pooling, pool in POOLS.items():
            assert found.vectors[layer][pooling] == pytest.approx(pool(states), abs=2e-4)


def test_layers_count_from_the_end_too(encoder: LocalEncoder) -> None:
    found = asked(encoder, Prompt.of(TEXT), -1, 6, -7, 0)
    assert list(found.vectors) == [6, 0]
    for layer in (7, -8):
        with pytest.raises(InvalidInput, match="allowed are -7 to 6"):
            asked(encoder, Prompt.of(TEXT), layer)


def test_unit_length(encoder: LocalEncoder) -> None:
    raw, unit = (asked(encoder, Prompt.of(TEXT), -1, normalize=normalize).vectors[6] for normalize in (False, True))
    for pooling in LayerPooling:
        assert np.linalg.norm(unit[pooling]) == pytest.approx(1, abs=1e-5)
        assert unit[pooling] == pytest.approx(raw[pooling] / np.linalg.norm(raw[pooling]), abs=1e-5)


def test_token_ids_and_a_cut(encoder: LocalEncoder) -> None:
    ids = tuple(encoder.tokenizer.ids(TEXT))
    by_ids = asked(encoder, Prompt(items=(TokenIdsItem(ids=ids),)), 3)
    by_text = asked(encoder, Prompt.of(TEXT), 3)
    assert by_ids.vectors[3][LayerPooling.MEAN] == pytest.approx(by_text.vectors[3][LayerPooling.MEAN], abs=1e-5)
    long = asked(encoder, Prompt.of("word " * 300), 1)
    assert (long.truncated, len(long.tokens)) == (True, 254)


def test_a_factor_acts_on_the_attention_alone(encoder: LocalEncoder) -> None:
    plain = asked(encoder, Prompt.of(TEXT), 0, 1).vectors
    steered = asked(encoder, Prompt.of(TEXT, (TextControl(start=3, length=5, factor=0),)), 0, 1).vectors
    assert steered[0][LayerPooling.MEAN] == pytest.approx(plain[0][LayerPooling.MEAN], abs=1e-6)
    assert np.abs(steered[1][LayerPooling.MEAN] - plain[1][LayerPooling.MEAN]).max() > 0.01


def test_a_prefix_is_read_but_not_pooled(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny", prompts={"query": "query: "}, default_prompt_name=None)
    encoder = load_encoder(str(folder), device="cpu")
    found = [
        pooled_layers(
            encoder,
            Prompt.of("the red car"),
            representation,
            layers=[0, 2],
            poolings=[LayerPooling.MEAN],
            options=ATTENTION,
        )
        for representation in (Representation.DOCUMENT, Representation.QUERY)
    ]
    assert [pooled.tokens for pooled in found] == [["the", "red", "car"]] * 2
    last = [pooled.vectors[2][LayerPooling.MEAN] for pooled in found]
    assert np.abs(last[0] - last[1]).max() > 0.01  # the prefix moved them


def test_what_cannot_be_shown(encoder: LocalEncoder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="prompt is empty"):
        asked(encoder, Prompt.of(" "), 0)
    with pytest.raises(InvalidInput, match="reads no images"):
        asked(encoder, Prompt(items=(ImageItem(data=b""),)), 0)
    deaf = load_encoder(str(save_tiny_model(tmp_path / "mpnet", "mpnet")), device="cpu")
    with pytest.raises(InvalidControl, match="does not take controls on attention"):
        asked(deaf, Prompt.of("the red car", (TextControl(start=4, length=3, factor=2),)), 0)
    assert asked(deaf, Prompt.of("the red car"), -1).tokens == ["the", "red", "car"]
