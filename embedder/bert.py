"""BERT and RoBERTa encoders on the CPU, run by OpenVINO on packed texts.

The network equals the one in transformers (tests compare the two). It needs neither padding nor the import of
transformers, which would add 3 s to every command, and it also runs in bf16 or int8. Other networks and devices use
embedder.generic.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import ModelError
from core.records import Float32Array, Int64Array
from embedder.backbone import KeyFactors, suppression_problem
from embedder.batching import attention_slots, rounded_up
from embedder.bertgraph import ACTIVATIONS, BertShape, bert_graph
from embedder.compiled import CompiledGraph, Inputs, cpu_precision
from embedder.modelfolder import json_object
from embedder.positions import first_position
from embedder.precision import Precision
from embedder.steeredattention import SUPPRESSED

STREAMS = (4, 3, 2)  # parts of a batch that may run at the same time, each on equally many threads
SPLIT_TOKENS = 192  # tokens per thread from which splitting a batch pays; a few queries together stay below
IDLE_LIMIT = 1.15  # largest part / mean part: with less even parts, cores idle longer than the split saves
STREAMS_LIMIT = 512 * 2**20  # bytes of weights; larger models are compiled for one stream only
_PADDING = 1  # the padding id if config.json names none, as in transformers
_NETWORKS = ("bert", "roberta", "xlm-roberta", "camembert")


class BertBackbone:
    """Fulfils embedder.backbone.Backbone."""

    device = torch.device("cpu")
    keeps_slots = True

    def __init__(self, shape: BertShape, weights: Mapping[str, Float32Array], precision: Precision) -> None:
        """`weights`: by their names in transformers, without prefix. Raises ModelError if one is missing."""
        self.width = shape.width
        self.max_tokens = shape.max_tokens
        self.precision = cpu_precision(precision)
        self._shape = shape
        self._weights = weights
        self._threads = torch.get_num_threads()
        size = sum(weight.nbytes for weight in weights.values())
        fitting = (streams for streams in STREAMS if self._threads % streams == 0 and size <= STREAMS_LIMIT)
        self._streams = next(fitting, 1)
        self._compiled: dict[tuple[bool, bool, int], CompiledGraph] = {}
        self._compiling = threading.Lock()
        self._graph(False, False, 1)
        self.attention_problem = suppression_problem(self, shape.vocabulary)

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        return self._run(ids, factors, every_layer=False)[0]

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        return self._run(ids, factors, every_layer=True)

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        found: Float32Array = self._weights["embeddings.word_embeddings.weight"][ids]
        return found

    def _run(self, ids: Sequence[Int64Array], factors: KeyFactors | None, *, every_layer: bool) -> list[Tensor]:
        lengths = np.array([len(text) for text in ids])
        multiplicative = factors is not None and not factors.log_additive
        starts = lengths.cumsum() - lengths
        shares = _shares(lengths, self._streams if lengths.sum() >= SPLIT_TOKENS * self._threads else 1)
        rows = [np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in share]) for share in shares]
        values = None if factors is None else factors.values.numpy()
        slots = attention_slots(int(lengths.max()))
        parts = [
            _inputs([ids[i] for i in share], slots, None if values is None else values[row], multiplicative)
            for share, row in zip(shares, rows, strict=True)
        ]
        found = self._graph(multiplicative, every_layer, len(shares)).run(parts)
        return [torch.from_numpy(_gathered(outputs, rows)) for outputs in zip(*found, strict=True)]

    def _graph(self, multiplicative: bool, every_layer: bool, streams: int) -> CompiledGraph:
        """The graph of this form, compiled at its first use."""
        with self._compiling:
            form = (multiplicative, every_layer, streams)
            if form not in self._compiled:
                graph = bert_graph(
                    self._shape,
                    self._weights,
                    int8=self.precision is Precision.INT8,
                    multiplicative=multiplicative,
                    every_layer=every_layer,
                )
                self._compiled[form] = CompiledGraph(
                    graph, precision=self.precision, threads=self._threads, streams=streams
                )
            return self._compiled[form]


def load_bert(folder: Path, device: torch.device, precision: Precision = Precision.FP32) -> BertBackbone | None:
    """The network of a model folder; None for another architecture or device, or without a safetensors file.

    Raises ModelError if config.json or the weights cannot be read, or if the two do not fit.
    """
    try:
        shape = _shape(json_object(folder / "config.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: {error!r}") from error
    file = folder / "model.safetensors"
    if shape is None or device.type != "cpu" or not file.is_file():
        return None
    try:
        stored = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: {error}") from error
    weights = {
        name.removeprefix("bert.").removeprefix("roberta."): tensor.float().numpy()
        for name, tensor in stored.items()
        if tensor.is_floating_point()
    }
    try:
        return BertBackbone(shape, weights, precision)
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:  # the probe has run it once
        raise ModelError(f"{file}: the weights do not fit the config.json beside it ({error})") from error


def _shape(config: Mapping[str, Any]) -> BertShape | None:
    """The shape, or None if the configuration describes another network."""
    kind = config.get("model_type")
    if (
        kind not in _NETWORKS
        or config.get("is_decoder")
        or config.get("position_embedding_type", "absolute") != "absolute"
        or config.get("hidden_act", "gelu") not in ACTIVATIONS
    ):
        return None
    first = first_position(kind, config.get("pad_token_id", _PADDING))
    return BertShape(
        width=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=str(config.get("hidden_act", "gelu")),
        first_position=first,
        max_tokens=int(config["max_position_embeddings"]) - first,
        vocabulary=int(config["vocab_size"]),
    )


def _shares(lengths: Int64Array, streams: int) -> list[list[int]]:
    """Indices of the texts in `streams` shares of about equal token count, or in one share if they would be uneven.

    The longest texts are assigned first, each to the smallest share.
    """
    if streams == 1:
        return [list(range(len(lengths)))]
    shares: list[list[int]] = [[] for _ in range(streams)]
    tokens = np.zeros(streams, dtype=np.int64)
    for i in np.argsort(-lengths, kind="stable"):
        least = int(tokens.argmin())
        shares[least].append(int(i))
        tokens[least] += lengths[i]
    if not tokens.all() or tokens.max() * streams > IDLE_LIMIT * tokens.sum():
        return [list(range(len(lengths)))]
    return [sorted(share) for share in shares]


def _inputs(ids: Sequence[Int64Array], slots_each: int, factors: Float32Array | None, multiplicative: bool) -> Inputs:
    """The graph's inputs, as described in embedder.bertgraph; `slots_each`: attention slots per text."""
    lengths = np.array([len(text) for text in ids])
    tokens = int(lengths.sum())
    slot = np.arange(slots_each, dtype=np.int32)
    taken = slot < lengths[:, None]  # (texts, slots_each) the slots that hold a token
    slots = np.zeros(taken.shape, dtype=np.int32)
    slots[taken] = np.arange(tokens, dtype=np.int32)
    packed = np.zeros((3, rounded_up(tokens)), dtype=np.int32)  # the last columns may be spare: their output is dropped
    packed[:, :tokens] = np.concatenate(ids), np.broadcast_to(slot, taken.shape)[taken], np.flatnonzero(taken)
    keys = np.full(taken.shape, -1.0 if multiplicative else SUPPRESSED, dtype=np.float32)
    if factors is None:
        keys[taken] = 0.0
    elif multiplicative:
        keys[taken] = factors
    else:
        with np.errstate(divide="ignore"):
            keys[taken] = np.maximum(np.log(factors), SUPPRESSED)
    return {
        "ids": packed[0],
        "places": packed[1],
        "slots": slots,
        "back": packed[2],
        "keys": keys[:, None, None, :],
    }


def _gathered(parts: Sequence[Float32Array], rows: Sequence[Int64Array]) -> Float32Array:
    """(tokens, width): the rows of all parts in their original order, without those of spare tokens."""
    if len(parts) == 1:
        return parts[0][: len(rows[0])]
    whole = np.empty((sum(map(len, rows)), parts[0].shape[1]), dtype=np.float32)
    for part, places in zip(parts, rows, strict=True):
        whole[places] = part[: len(places)]
    return whole
