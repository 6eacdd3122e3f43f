"""Any transformer that the transformers library knows, with factors on its attention.

An attention function is registered with transformers under the name IMPLEMENTATION, together with the mask function of
`sdpa`: without the mask entry, padding and windows would be lost silently. The factors reach it through a context
variable, so that forward passes in other threads are not touched and no model has to hand an argument down.
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
from safetensors import SafetensorError
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, AutoModel, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import logging as transformers_logging

from core.errors import ModelError
from core.records import Float32Array, Int64Array
from embedder.backbone import TOLERANCE, KeyFactors, probe_ids, suppression_problem
from embedder.steered import log_factors, scale_scores

IMPLEMENTATION = "salience"


class GenericBackbone:
    """Fulfils embedder.backbone.Backbone by a model of transformers, on padded batches.

    The model is switched to the steerable attention if, and only if, that proves to be harmless (the idle output
    equals the stock one) and effective (a suppressed token acts on no other). Else it keeps its stock attention.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.width = int(model.config.get_text_config().hidden_size)
        stock = model.config._attn_implementation
        self.attention_problem = self._attention_problem()
        if self.attention_problem:
            model.set_attn_implementation(stock)

    @property
    def device(self) -> torch.device:
        return self._model.device

    def hidden(self, ids: Sequence[Int64Array], factors: KeyFactors | None = None) -> Tensor:
        mask = torch.zeros((len(ids), max(len(text) for text in ids)), dtype=torch.bool)
        for row, text in enumerate(ids):
            mask[row, : len(text)] = True
        mask = mask.to(self.device)
        tokens = torch.zeros(mask.shape, dtype=torch.long, device=self.device)
        tokens[mask] = torch.from_numpy(np.concatenate(ids)).to(self.device)
        with torch.inference_mode(), steered(None if factors is None else _padded(factors, mask)):
            found: Tensor = self._model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        return found[mask].float()

    def word_vectors(self, ids: Int64Array) -> Float32Array:
        with torch.inference_mode():
            words: Tensor = self._model.get_input_embeddings()(torch.from_numpy(ids).to(self.device))
        found: Float32Array = words.float().cpu().numpy()
        return found

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


def load_generic(folder: Path, device: torch.device) -> tuple[GenericBackbone, int | None]:
    """The model of a folder, and how many positions it has (None: any number). Raises ModelError."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # no bar on stderr, least of all in a pipe
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: {error}") from error
    moved: PreTrainedModel = model.eval().to(device)
    config = moved.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type == "mpnet":
        positions -= config.pad_token_id + 1  # positions count from behind the padding index
    return GenericBackbone(moved), positions


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFactors:
    """The factors of a padded batch: `values` is (batch, key_len), 1 where nothing is steered."""

    values: Tensor
    log_additive: bool


_factors: ContextVar[BatchFactors | None] = ContextVar("salience_key_factors", default=None)


@contextmanager
def steered(factors: BatchFactors | None) -> Iterator[None]:
    """Within the block, forward passes of this thread attend by `factors` (None: as the model was trained)."""
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
        learned = kwargs.pop("position_bias", None)  # T5 and its kin bring a bias of their own
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
