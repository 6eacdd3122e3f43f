"""A backbone for any model of the transformers library, with factors on its attention.

An attention function is registered with transformers under the name IMPLEMENTATION, together with the mask function of
`sdpa`: without the mask entry, padding and windows would be lost silently. The factors reach it through a context
variable, so that forward passes in other threads are not affected and no model has to pass an argument down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    LongT5EncoderModel,
    MT5EncoderModel,
    PreTrainedConfig,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.errors import ModelError
from core.records import Float32Array, Int64Array
from embedder.backbone import TOLERANCE, KeyFactors, probe_ids, suppression_problem
from embedder.positions import first_position
from embedder.precision import Precision
from embedder.pretrained import load_config, load_pretrained
from embedder.steeredattention import log_factors, scale_scores

IMPLEMENTATION = "salience"
_ENCODERS = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel, "longt5": LongT5EncoderModel}


class GenericBackbone:
    """Fulfils embedder.backbone.Backbone with a transformers model, on padded batches.

    The model is switched to the steerable attention only if tests at loading show that this is harmless (without
    factors the output equals the stock one) and effective (a suppressed token does not affect the others). Otherwise
    it keeps its stock attention.
    """

    keeps_slots = False  # all texts of a batch are padded to the longest

    def __init__(self, model: PreTrainedModel, precision: Precision = Precision.FP32) -> None:
        """`model` has float32 weights. `precision`: FP32, or BF16 for the matrix products."""
        self._model = model
        self.precision = precision
        self.width = int(model.config.get_text_config().hidden_size)
        stock = model.config._attn_implementation
        self.attention_problem = self._attention_problem()
        if self.attention_problem:
            model.set_attn_implementation(stock)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def config(self) -> PreTrainedConfig:
        return self._model.config

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        return self._run(ids, factors, every_layer=False)[0]

    def layers(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> list[Tensor]:
        return self._run(ids, factors, every_layer=True)

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        with torch.inference_mode():
            words: Tensor = self._model.get_input_embeddings()(torch.from_numpy(ids).to(self.device))
        found: Float32Array = words.float().cpu().numpy()
        return found

    def _run(self, ids: Sequence[Int64Array], factors: KeyFactors | None, *, every_layer: bool) -> list[Tensor]:
        mask = torch.zeros((len(ids), max(len(text) for text in ids)), dtype=torch.bool)
        for row, text in enumerate(ids):
            mask[row, : len(text)] = True
        mask = mask.to(self.device)
        tokens = torch.zeros(mask.shape, dtype=torch.long, device=self.device)
        tokens[mask] = torch.from_numpy(np.concatenate(ids)).to(self.device)
        faster = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is Precision.BF16)
        with torch.inference_mode(), faster, steered(None if factors is None else _padded(factors, mask)):
            found = self._model(input_ids=tokens, attention_mask=mask.long(), output_hidden_states=every_layer)
        states: Sequence[Tensor] = found.hidden_states if every_layer else [found.last_hidden_state]
        return [state[mask].float() for state in states]

    def _attention_problem(self) -> str:
        vocabulary = int(self._model.config.get_text_config().vocab_size)
        texts = list(probe_ids(vocabulary))
        expected = self.hidden(texts)
        try:
            self._model.set_attn_implementation(IMPLEMENTATION)
            idle = self.hidden(texts)
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:
            return f"its attention cannot be replaced ({error})"
        if not torch.allclose(idle, expected, atol=TOLERANCE):
            return "its attention changes its output when it is replaced"
        return suppression_problem(self, vocabulary)


def load_generic(
    folder: Path, device: torch.device, precision: Precision = Precision.FP32
) -> tuple[GenericBackbone, int | None]:
    """Loads the model of a folder; returns it and its number of positions (None: unlimited).

    Raises ModelError if the folder, its weights or the precision cannot be used.
    """
    backbone = GenericBackbone(_loaded(folder, device), _torch_precision(precision, device))
    return backbone, position_limit(backbone.config)


def differentiable(folder: Path, device: torch.device) -> PreTrainedModel:
    """The network of a folder with its stock attention. Raises ModelError."""
    return _loaded(folder, device).requires_grad_(False)  # no gradients of the weights: only those of the input matter


def position_limit(config: PreTrainedConfig) -> int | None:
    """The number of tokens that a network has positions for; None: unlimited."""
    text = config.get_text_config()
    positions: int | None = getattr(text, "max_position_embeddings", None)
    return None if positions is None else positions - first_position(text.model_type, text.pad_token_id)


def _loaded(folder: Path, device: torch.device) -> PreTrainedModel:
    network = _network(load_config(folder))
    return load_pretrained(network, folder, device, lacking="they do not belong to this config.json", unused="pooler")


def _network(config: PreTrainedConfig) -> Any:
    """The transformers class that outputs one vector per token. Raises ModelError if there is none."""
    if config.model_type in _ENCODERS:
        return _ENCODERS[config.model_type]
    if config.is_encoder_decoder:
        raise ModelError(
            f"a {config.model_type} model has a decoder behind its encoder; of such models, "
            f"{', '.join(_ENCODERS)} can be used"
        )
    return AutoModel


def _torch_precision(wanted: Precision, device: torch.device) -> Precision:
    if wanted is Precision.INT8:
        raise ModelError("precision int8 is for BERT and RoBERTa networks on the CPU; others take auto, fp32 and bf16")
    if wanted is not Precision.AUTO:
        return wanted
    return Precision.BF16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else Precision.FP32


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFactors:
    """The factors of a padded batch: `values` is (batch, key_len), 1 where nothing is steered."""

    values: Tensor
    log_additive: bool


_factors: ContextVar[BatchFactors | None] = ContextVar("salience_key_factors", default=None)


@contextmanager
def steered(factors: BatchFactors | None) -> Iterator[None]:
    """Within the block, forward passes of this thread apply `factors` to the attention (None: unchanged attention)."""
    token = _factors.set(factors)
    try:
        yield
    finally:
        _factors.reset(token)


def _padded(factors: KeyFactors, mask: Tensor) -> BatchFactors:
    values = torch.ones(mask.shape, device=mask.device)
    values[mask] = factors.values
    return BatchFactors(values=values, log_additive=factors.log_additive)


def _steerable_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query, key, value: (batch, heads, query_len | key_len, head_dim). Returns (batch, query_len, heads, head_dim)."""
    factors = _factors.get()
    if factors is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    values = factors.values.to(query.dtype)[:, None, None, :]  # (batch, 1, 1, key_len)
    if factors.log_additive:
        bias = log_factors(values)
        learned = kwargs.pop("position_bias", None)  # T5 models pass a learned bias of their own
        bias = bias if learned is None else bias + learned
        return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=bias, **kwargs)
    return _multiplicative(module, query, key, value, attention_mask, values, **kwargs)


def _multiplicative(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    factors: Tensor,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    visible = _visible(scores, attention_mask, getattr(module, "is_causal", True) if is_causal is None else is_causal)
    return (scale_scores(scores, factors, visible).softmax(dim=-1) @ value).transpose(1, 2).contiguous(), None


def _visible(scores: Tensor, attention_mask: Tensor | None, is_causal: bool) -> Tensor:
    """(batch or 1, 1, query_len, key_len) bool: which keys a row attends to."""
    if attention_mask is None:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        return (visible.tril() if is_causal and scores.shape[-2] > 1 else visible)[None, None]
    if attention_mask.dtype == torch.bool:
        return attention_mask
    return attention_mask > torch.finfo(attention_mask.dtype).min / 2


AttentionInterface.register(IMPLEMENTATION, _steerable_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
