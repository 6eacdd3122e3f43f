"""BERT and RoBERTa encoders, run by Salience itself on packed texts.

The same network as in transformers (tests hold the two to each other), without its import, which costs 3 s of every
command, and without padding. Other architectures go through embedder.generic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from core.errors import ModelError
from core.records import Float32Array, Int64Array
from embedder.backbone import KeyFactors, suppression_problem
from embedder.modelfolder import json_object
from embedder.steered import attend

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "camembert")  # positions count from behind the padding index


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape:
    """What of a `config.json` the forward pass depends on."""

    width: int
    layers: int
    heads: int
    epsilon: float  # of the layer norms
    activation: str
    first_position: int
    max_tokens: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertShape | None:
        """The shape, or None where the configuration is of another network."""
        kind = config.get("model_type")
        if (
            kind not in ("bert", *_PADDED_POSITIONS)
            or config.get("is_decoder")
            or config.get("position_embedding_type", "absolute") != "absolute"
            or config.get("hidden_act", "gelu") not in _ACTIVATIONS
        ):
            return None
        first = int(config.get("pad_token_id", 1)) + 1 if kind in _PADDED_POSITIONS else 0
        return cls(
            width=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=str(config.get("hidden_act", "gelu")),
            first_position=first,
            max_tokens=int(config["max_position_embeddings"]) - first,
            vocabulary=int(config["vocab_size"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Linear:
    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    query_key_value: _Linear  # three projections in one product: (3 * width, width)
    attended: _Linear
    attended_norm: _Norm
    widen: _Linear
    narrow: _Linear
    output_norm: _Norm


class BertBackbone:
    """Fulfils embedder.backbone.Backbone."""

    def __init__(self, shape: BertShape, weights: Mapping[str, Tensor]) -> None:
        """`weights` by their names in transformers, without a prefix, on the device to run on. Raises ModelError."""
        read = _Reader(weights, shape.epsilon)
        self.width = shape.width
        self.max_tokens = shape.max_tokens
        self._shape = shape
        self._activation = _ACTIVATIONS[shape.activation]
        self._words = read.tensor("embeddings.word_embeddings.weight")
        first, types = read.tensor("embeddings.position_embeddings.weight"), "embeddings.token_type_embeddings.weight"
        # Every text is of the first type, so its vector belongs to each position.
        self._positions = first[shape.first_position :] + read.tensor(types)[0]
        self._norm = read.norm("embeddings.LayerNorm")
        self._layers = [read.layer(f"encoder.layer.{i}") for i in range(shape.layers)]
        self.attention_problem = suppression_problem(self, shape.vocabulary)

    @property
    def device(self) -> torch.device:
        return self._words.device

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        lengths = [len(text) for text in ids]
        tokens = torch.from_numpy(np.concatenate(ids)).to(self.device)
        places = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths])).to(self.device)
        groups = list(_equal_lengths(lengths))
        with torch.inference_mode():
            x = self._norm(self._words[tokens] + self._positions[places])
            for layer in self._layers:
                x = self._apply(layer, x, groups, factors)
        return x

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        found: Float32Array = self._words[torch.from_numpy(ids).to(self.device)].float().cpu().numpy()
        return found

    def _apply(self, layer: _Layer, x: Tensor, groups: list[_Group], factors: KeyFactors | None) -> Tensor:
        query_key_value = layer.query_key_value(x)
        mixed = torch.empty_like(x)
        for group in groups:
            part = query_key_value[group.start : group.end].view(group.texts, group.length, 3, self._shape.heads, -1)
            query, key, value = part.permute(2, 0, 3, 1, 4)  # each (texts, heads, length, head_dim)
            here = None if factors is None else factors.values[group.start : group.end].view(group.texts, -1)
            found = attend(query, key, value, here, log_additive=factors is None or factors.log_additive)
            mixed[group.start : group.end] = found.transpose(1, 2).reshape(-1, self.width)
        x = layer.attended_norm(layer.attended(mixed) + x)
        return layer.output_norm(layer.narrow(self._activation(layer.widen(x))) + x)


def load_bert(folder: Path, device: torch.device) -> BertBackbone | None:
    """The network of a model folder; None where the folder holds another architecture, or no safetensors file.

    Raises ModelError where the weights do not fit the configuration.
    """
    try:
        shape = BertShape.of(json_object(folder / "config.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: {error!r}") from error
    file = folder / "model.safetensors"
    if shape is None or not file.is_file():
        return None
    try:
        stored = load_file(file, device=str(device))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: {error}") from error
    weights = {name.removeprefix("bert.").removeprefix("roberta."): tensor.float() for name, tensor in stored.items()}
    try:
        return BertBackbone(shape, weights)
    except (RuntimeError, IndexError) as error:  # the probe has run it once
        raise ModelError(f"{file}: the weights do not fit the config.json beside it ({error})") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """Neighbouring texts of one length: they go through the attention together."""

    start: int  # first token
    end: int  # one past the last token
    texts: int
    length: int


def _equal_lengths(lengths: Sequence[int]) -> Iterator[_Group]:
    start = first = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or lengths[i] != lengths[first]:
            texts, length = i - first, lengths[first]
            yield _Group(start=start, end=start + texts * length, texts=texts, length=length)
            start, first = start + texts * length, i


class _Reader:
    """Weights by name, each checked to be there."""

    def __init__(self, weights: Mapping[str, Tensor], epsilon: float) -> None:
        self._weights = weights
        self._epsilon = epsilon

    def tensor(self, name: str) -> Tensor:
        if name not in self._weights:
            raise ModelError(f"the weights lack {name!r}: they do not belong to this config.json")
        return self._weights[name]

    def linear(self, *names: str) -> _Linear:
        return _Linear(
            weight=torch.cat([self.tensor(f"{name}.weight") for name in names]),
            bias=torch.cat([self.tensor(f"{name}.bias") for name in names]),
        )

    def norm(self, name: str) -> _Norm:
        return _Norm(weight=self.tensor(f"{name}.weight"), bias=self.tensor(f"{name}.bias"), epsilon=self._epsilon)

    def layer(self, name: str) -> _Layer:
        attention = f"{name}.attention.self"
        return _Layer(
            query_key_value=self.linear(f"{attention}.query", f"{attention}.key", f"{attention}.value"),
            attended=self.linear(f"{name}.attention.output.dense"),
            attended_norm=self.norm(f"{name}.attention.output.LayerNorm"),
            widen=self.linear(f"{name}.intermediate.dense"),
            narrow=self.linear(f"{name}.output.dense"),
            output_norm=self.norm(f"{name}.output.LayerNorm"),
        )
