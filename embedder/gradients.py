"""Integrated gradients: how much each token contributes to the cosine of a text and a vector.

    a_i = (x_i - b_i) . mean over the line from b to x of d cos / d x_i

x are the input embeddings of the tokens, b those of the baseline, an empty text: the same special tokens around as many
padding tokens. All a_i sum to cos(x) - cos(b), up to the error of the finite number of steps.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017. Gradients need a torch network;
it is loaded separately from the encoder's own, from the same weights, at the first call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.context import models_read
from core.protocols import Priority
from core.records import BoolArray, Float64Array, Int64Array
from embedder.modelqueue import ModelQueue
from embedder.scheduling import scheduler_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # takes seconds to import

STEPS = 24
_ROWS = 8  # steps that are computed at once


class Differentiable:
    """The torch network of a model folder, loaded at first use. Thread-safe."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._model: PreTrainedModel | None = None
        self._loading = threading.Lock()
        self._queue = ModelQueue(scheduler_of(device))
        self.observe = self._queue.observe  # as in core.protocols.Observable
        self.waiting = self._queue.waiting

    def integrated_gradients(
        self, ids: Int64Array, own: BoolArray, cosine: Callable[[Tensor], Tensor], steps: int
    ) -> tuple[Float64Array, float, float]:
        """Returns attributions (tokens,) float64, the cosine of the text, and that of the baseline.

        `ids`: (tokens,). `own`: (tokens,) True for tokens that the baseline replaces by padding. `cosine` maps token
        vectors (rows, tokens, width) to cosines (rows,). `steps`: number of points on the line at which gradients
        are computed. Raises Abandoned between batches of steps if nobody waits for the answer any more.
        """
        model = self._loaded()
        with self._queue.staying(Priority.INTERACTIVE), torch.enable_grad():
            words = model.get_input_embeddings()
            padding = model.config.get_text_config().pad_token_id or 0
            with torch.no_grad():
                text: Tensor = words(torch.from_numpy(ids)[None].to(self._device))
                blank = words(torch.from_numpy(np.where(own, padding, ids))[None].to(self._device))
            total = torch.zeros_like(text[0])
            shares = (torch.arange(steps, dtype=text.dtype, device=self._device) + 0.5) / steps
            for part in torch.split(shares, _ROWS):
                with self._turn(len(part), len(ids)):
                    way = (blank + part[:, None, None] * (text - blank)).requires_grad_()
                    found = cosine(_hidden(model, way))
                    (gradient,) = torch.autograd.grad(found.sum(), way)
                    total += gradient.sum(dim=0)
            with self._turn(2, len(ids)), torch.no_grad():
                ends = cosine(_hidden(model, torch.cat([text, blank])))
            values = ((text - blank)[0] * total / steps).sum(dim=-1)
        return values.double().cpu().numpy(), float(ends[0]), float(ends[1])

    @contextmanager
    def _turn(self, rows: int, length: int) -> Iterator[None]:
        with self._queue.turn(Priority.INTERACTIVE, texts=rows, tokens=rows * length):
            yield
        models_read(rows * length)

    def _loaded(self) -> PreTrainedModel:
        with self._loading:
            if self._model is None:
                from embedder.generic import differentiable  # transformers takes seconds to import

                self._model = differentiable(self._folder, self._device)
            return self._model


def _hidden(model: PreTrainedModel, embeddings: Tensor) -> Tensor:
    mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
    hidden: Tensor = model(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
    return hidden
