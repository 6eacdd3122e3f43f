"""Does steering act on this model as it should? Asked of the loaded model itself, not of a list of names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedder.attention import IMPLEMENTATION, KeyFactors, steered

TOLERANCE = 1e-4  # largest difference of a component that fp32 rounding may cause


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSupport:
    """Which controls act on a model, found by the probe at load."""

    attention: bool
    pool: bool
    reason: str  # why one of them does not act; empty where both do


def probe(model: PreTrainedModel, *, mean_pooling: bool) -> ControlSupport:
    """Switches `model` to the steerable attention if, and only if, it proves to be harmless and effective.

    Harmless: the idle output equals the stock one, on a padded batch. Effective: with factor 0 on a token, swapping
    that token for another leaves all other tokens' vectors alone. Otherwise the model keeps its stock attention.
    """
    stock = model.config._attn_implementation
    problem = _attention_problem(model)
    if problem:
        model.set_attn_implementation(stock)
    pool_problem = "" if mean_pooling else "its pooling is not a mean over tokens"
    reason = "; ".join(text for text in (problem, pool_problem) if text)
    return ControlSupport(attention=not problem, pool=mean_pooling, reason=reason)


def _attention_problem(model: PreTrainedModel) -> str:
    """What speaks against the steerable attention, empty if nothing does."""
    ids, mask = _padded_batch(model)
    expected = _hidden(model, ids, mask)
    try:
        model.set_attn_implementation(IMPLEMENTATION)
        idle = _hidden(model, ids, mask)
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        return f"its attention cannot be replaced ({error})"
    if not torch.allclose(idle[mask], expected[mask], atol=TOLERANCE):
        return "its attention changes its output when it is replaced"
    factors = torch.ones(ids.shape, device=ids.device)
    factors[0, 2] = 0.0
    swapped = ids.clone()
    swapped[0, 2] = ids[0, 3]
    with steered(KeyFactors(values=factors, log_additive=True)):
        suppressed, after_swap = _hidden(model, ids, mask), _hidden(model, swapped, mask)
    others = mask.clone()
    others[0, 2] = False
    if not torch.allclose(suppressed[others], after_swap[others], atol=TOLERANCE):
        return "a suppressed token still acts on the others"
    return ""


def _padded_batch(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Two rows of 7 and 4 distinct tokens out of the middle of the vocabulary."""
    size = model.config.get_text_config().vocab_size
    ids = torch.arange(14, device=model.device).reshape(2, 7) * 7 % max(size // 2, 1) + size // 4
    mask = torch.ones((2, 7), dtype=torch.bool, device=model.device)
    mask[1, 4:] = False
    return ids, mask


def _hidden(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask.long()).last_hidden_state  # type: ignore[no-any-return]
