"""Integrated gradients: how much each token adds to the cosine of a text and a vector.

    a_i = (x_i - b_i) . mean over the way from b to x of d cos / d x_i

x are the vectors that the network's input layer gives the tokens, b those of a text that says nothing: the same special
tokens around as many padding tokens. All a_i sum to cos(x) - cos(b), up to the coarseness of the steps.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017. Gradients need a network of
torch; where the encoder runs otherwise, the same weights are loaded once more, at the first question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.current import models_read
from core.records import BoolArray, Float64Array, Int64Array

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # takes seconds to import

STEPS = 24
_ROWS = 8  # steps that are computed at once


class Differentiable:
    """The torch network of a model folder, loaded at the first question. Thread-safe."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._model: PreTrainedModel | None = None
        self._lock = threading.Lock()

    def integrated_gradients(
        self, ids: Int64Array, own: BoolArray, cosine: Callable[[Tensor], Tensor], steps: int
    ) -> tuple[Float64Array, float, float]:
        """Attributions (tokens,), the cosine of the text, and that of the baseline.

        `own`: (tokens,) those that the baseline pads. `cosine`: (rows, tokens, width) token vectors to (rows,).
        """
        with self._lock, torch.enable_grad():
            model = self._loaded()
            words = model.get_input_embeddings()
            padding = model.config.get_text_config().pad_token_id or 0
            with torch.no_grad():
                text: Tensor = words(torch.from_numpy(ids)[None].to(self._device))
                blank = words(torch.from_numpy(np.where(own, padding, ids))[None].to(self._device))
            total = torch.zeros_like(text[0])
            shares = (torch.arange(steps, dtype=text.dtype, device=self._device) + 0.5) / steps
            for part in torch.split(shares, _ROWS):
                way = (blank + part[:, None, None] * (text - blank)).requires_grad_()
                found = cosine(_hidden(model, way))
                (gradient,) = torch.autograd.grad(found.sum(), way)
                total += gradient.sum(dim=0)
            with torch.no_grad():
                ends = cosine(_hidden(model, torch.cat([text, blank])))
            models_read(len(ids) * (steps + len(ends)))
            values = ((text - blank)[0] * total / steps).sum(dim=-1)
        return values.double().cpu().numpy(), float(ends[0]), float(ends[1])

    def _loaded(self) -> PreTrainedModel:
        if self._model is None:
            from embedder.generic import differentiable  # transformers takes seconds to import

            self._model = differentiable(self._folder, self._device)
        return self._model


def _hidden(model: PreTrainedModel, embeddings: Tensor) -> Tensor:
    mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
    hidden: Tensor = model(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
    return hidden
