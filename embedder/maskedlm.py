"""Loads masked language models: a transformer, and the head that maps its token vectors to vocabulary logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from core.errors import ModelError
from embedder.backbone import Backbone
from embedder.bert import load_bert
from embedder.modelfolder import json_object

VocabularyHead = Callable[[Tensor], Tensor]  # (tokens, width) -> (tokens, vocabulary) logits
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedLanguageModel:
    """A masked language model, split into transformer and head."""

    backbone: Backbone
    head: VocabularyHead
    vocabulary: int  # number of logits per token
    positions: int | None  # largest number of tokens per text; None: unlimited


def load_masked_language_model(folder: Path, device: torch.device) -> MaskedLanguageModel:
    """Loads the model of a folder: BERT and RoBERTa with Salience's own code, other networks with transformers.

    Raises ModelError, also if the weights lack the head: transformers would initialise it at random.
    """
    own = load_bert(folder, device)
    if own is not None:
        head = _own_head(folder, own.width, device)
        return MaskedLanguageModel(backbone=own, head=head, vocabulary=len(head.words), positions=own.max_tokens)
    from embedder.generichead import load_generic_masked  # transformers takes seconds to import

    return load_generic_masked(folder, device)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """The head of BERT and RoBERTa: dense layer, activation, layer norm, and the product with the word embeddings."""

    weight: Tensor  # (width, width)
    bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    epsilon: float
    activation: Callable[[Tensor], Tensor]
    words: Tensor  # (vocabulary, width)
    words_bias: Tensor  # (vocabulary,)

    def __call__(self, vectors: Tensor) -> Tensor:
        x = self.activation(functional.linear(vectors, self.weight, self.bias))
        x = functional.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias, self.epsilon)
        return functional.linear(x, self.words, self.words_bias)


def _own_head(folder: Path, width: int, device: torch.device) -> _Head:
    config = json_object(folder / "config.json")
    is_bert = config["model_type"] == "bert"
    dense, norm, bias, decoder, words = (
        (
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.bias",
            "cls.predictions.decoder.weight",
            "bert.embeddings.word_embeddings.weight",
        )
        if is_bert
        else (
            "lm_head.dense",
            "lm_head.layer_norm",
            "lm_head.bias",
            "lm_head.decoder.weight",
            "roberta.embeddings.word_embeddings.weight",
        )
    )
    decoder = words if config.get("tie_word_embeddings", True) else decoder
    names = (f"{dense}.weight", f"{dense}.bias", f"{norm}.weight", f"{norm}.bias", decoder, bias)
    file = folder / "model.safetensors"
    with safe_open(file, framework="pt", device=str(device)) as stored:
        missing = [name for name in names if name not in stored.keys()]  # noqa: SIM118  # no mapping, but looks like one
        if missing:
            raise ModelError(
                f"{file} lacks {missing[0]!r}: it holds no masked language model, which learned sparse vectors need"
            )
        weight, dense_bias, norm_weight, norm_bias, matrix, words_bias = (
            stored.get_tensor(name).float() for name in names
        )
    if weight.shape != (width, width) or matrix.shape != (len(words_bias), width):
        raise ModelError(f"{file}: the head over the vocabulary does not fit the config.json beside it")
    return _Head(
        weight=weight,
        bias=dense_bias,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=_ACTIVATIONS[str(config.get("hidden_act", "gelu"))] if is_bert else functional.gelu,
        words=matrix,
        words_bias=words_bias,
    )
