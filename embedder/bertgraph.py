"""The forward pass of BERT and RoBERTa as an OpenVINO graph.

Inputs, for T tokens of B texts, none longer than L tokens:

    ids     (T,) int32     vocabulary ids, one text after the other
    places  (T,) int32     each token's position in its text
    slots   (B, L) int32   index among the T tokens of each text's tokens; any valid index where the text is shorter
    back    (T,) int32     index of each token among the B * L flattened slots; any valid index for a spare token
    keys    (B, 1, 1, L) float32   bias or factor of each slot as a key of the attention: see `bert_graph`

Linear layers and norms run on the T tokens, without padding; only the attention runs on the B x L slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
from openvino import opset15 as op

from core.errors import ModelError
from core.records import Float32Array

Node = Any  # openvino has no types for mypy
ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "gelu": lambda x: op.gelu(x, "erf"),
    "gelu_new": lambda x: op.gelu(x, "tanh"),
    "relu": op.relu,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape:
    """The values of a `config.json` that the forward pass depends on."""

    width: int
    layers: int
    heads: int
    epsilon: float  # of the layer norms
    activation: str  # a key of ACTIVATIONS
    first_position: int
    max_tokens: int
    vocabulary: int


def bert_graph(
    shape: BertShape,
    weights: Mapping[str, Float32Array],
    *,
    int8: bool = False,
    multiplicative: bool = False,
    every_layer: bool = False,
) -> ov.Model:
    """Builds the graph. Its only output is (T, width) float32, the last layer's vectors.

    With `every_layer` there are more outputs of this shape: the first layer's input, then the output of every layer.
    The input `keys` holds a number to add to the scores of each key (a very low one for empty slots), or, if
    `multiplicative`, the factor that scales `score - minimum` (negative for empty slots). `weights`: by their names in
    transformers, without prefix. `int8`: the layers' matrices are stored in 8 bits, with one scale per output row.
    Raises ModelError if weights are missing.
    """
    graph = _Graph(shape, weights, int8)
    ids, places, back = (
        op.parameter(ov.PartialShape([-1]), ov.Type.i32, name=name) for name in ("ids", "places", "back")
    )
    slots = op.parameter(ov.PartialShape([-1, -1]), ov.Type.i32, name="slots")
    keys = op.parameter(ov.PartialShape([-1, 1, 1, -1]), ov.Type.f32, name="keys")
    states = [graph.embed(ids, places)]
    for i in range(shape.layers):
        states.append(graph.layer(f"encoder.layer.{i}", states[-1], slots, back, keys, multiplicative))
    return ov.Model(states if every_layer else states[-1:], [ids, places, slots, back, keys], "bert")


class _Graph:
    """Builds graph nodes from the weights of one network."""

    def __init__(self, shape: BertShape, weights: Mapping[str, Float32Array], int8: bool) -> None:
        self._shape = shape
        self._weights = weights
        self._int8 = int8

    def embed(self, ids: Node, places: Node) -> Node:
        words = op.gather(self._constant("embeddings.word_embeddings.weight"), ids, _integer(0))
        # Every text has token type 0, so the vector of that type is added to each position.
        positions = self._weight("embeddings.position_embeddings.weight")[self._shape.first_position :]
        first_type = self._weight("embeddings.token_type_embeddings.weight")[0]
        there = op.gather(op.constant(positions + first_type), places, _integer(0))
        return self._norm("embeddings.LayerNorm", op.add(words, there))

    def layer(self, name: str, x: Node, slots: Node, back: Node, keys: Node, multiplicative: bool) -> Node:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        heads, head_width = self._shape.heads, self._shape.width // self._shape.heads
        padded = op.gather(self._linear(x, *parts), slots, _integer(0))  # (B, L, 3 * width)
        split = op.reshape(padded, _integers(0, 0, 3, heads, head_width), True)
        query, key, value = (
            op.squeeze(part, _integer(0))  # (B, heads, L, head_width)
            for part in op.split(op.transpose(split, _integers(2, 0, 3, 1, 4)), _integer(0), 3).outputs()
        )
        attend = _scaled_attention if multiplicative else op.scaled_dot_product_attention
        seen = op.transpose(attend(query, key, value, keys), _integers(0, 2, 1, 3))
        mixed = op.gather(op.reshape(seen, _integers(-1, self._shape.width), False), back, _integer(0))
        attended = op.add(self._linear(mixed, f"{name}.attention.output.dense"), x)
        x = self._norm(f"{name}.attention.output.LayerNorm", attended)
        wide = ACTIVATIONS[self._shape.activation](self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(f"{name}.output.LayerNorm", op.add(self._linear(wide, f"{name}.output.dense"), x))

    def _linear(self, x: Node, *names: str) -> Node:
        """The linear layers `names` of one input, computed as one product with their outputs side by side."""
        matrix = np.concatenate([self._weight(f"{name}.weight") for name in names])
        bias = np.concatenate([self._weight(f"{name}.bias") for name in names])
        weight = _int8_rows(matrix) if self._int8 else op.constant(matrix, shared_memory=True)
        return op.add(op.matmul(x, weight, False, True), op.constant(bias))

    def _norm(self, name: str, x: Node) -> Node:
        centred = op.mvn(x, _integers(-1), True, self._shape.epsilon, "inside_sqrt")
        return op.add(op.multiply(centred, self._constant(f"{name}.weight")), self._constant(f"{name}.bias"))

    def _constant(self, name: str) -> Node:
        return op.constant(self._weight(name), shared_memory=True)

    def _weight(self, name: str) -> Float32Array:
        if name not in self._weights:
            raise ModelError(f"the weights lack {name!r}: they do not belong to this config.json")
        return self._weights[name]


def _scaled_attention(query: Node, key: Node, value: Node, factors: Node) -> Node:
    """softmax((S - min S) * f) V, with S = Q K^T / sqrt(head_width) and the minimum over the keys that exist."""
    width = query.get_output_partial_shape(0)[3].get_length()
    scores = op.multiply(op.matmul(query, key, False, True), op.constant(np.float32(width**-0.5)))
    exists = op.greater_equal(factors, op.constant(np.float32(0)))  # (B, 1, 1, L)
    lowest = op.reduce_min(op.select(exists, scores, op.constant(np.float32(1e30))), _integers(-1), True)
    scaled = op.select(exists, op.multiply(op.subtract(scores, lowest), factors), op.constant(np.float32(-1e30)))
    return op.matmul(op.softmax(scaled, -1), value, False, False)


def _int8_rows(matrix: Float32Array) -> Node:
    """The matrix as int8 with a float32 scale per row, the form that OpenVINO recognises as a compressed weight."""
    scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(127)
    return op.multiply(op.convert(op.constant(np.rint(matrix / scale).astype(np.int8)), "f32"), op.constant(scale))


def _integer(value: int) -> Node:
    return op.constant(np.int64(value))


def _integers(*values: int) -> Node:
    return op.constant(np.array(values, dtype=np.int64))
