"""Separates the head of any masked language model of the transformers library from its transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from core.errors import ModelError
from embedder.backbone import TOLERANCE, probe_ids
from embedder.generic import GenericBackbone, position_limit
from embedder.maskedlm import MaskedLanguageModel
from embedder.pretrained import load_pretrained


def load_generic_masked(folder: Path, device: torch.device) -> MaskedLanguageModel:
    """The transformer and the head of a folder's model.

    Raises ModelError if the model cannot be loaded, or if its head needs more than the transformer's token vectors.
    """
    lacking = "there is no masked language model, which learned sparse vectors need"
    model = load_pretrained(AutoModelForMaskedLM, folder, device, lacking=lacking)
    config = model.config.get_text_config()
    positions = position_limit(model.config)
    ids = torch.from_numpy(probe_ids(int(config.vocab_size))[0])[None].to(device)
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0]
        hidden = model.base_model(input_ids=ids)[0][0]
    transformer = model.base_model
    assert isinstance(transformer, PreTrainedModel)
    backbone = GenericBackbone(transformer)
    head = _GenericHead(model)
    try:
        found = head(hidden)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the head of a {config.model_type} model cannot be used: {error}") from error
    if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        raise ModelError(f"{folder}: the head of a {config.model_type} model needs more than its token vectors")
    return MaskedLanguageModel(backbone=backbone, head=head, vocabulary=expected.shape[-1], positions=positions)


class _GenericHead:
    """The model with its transformer replaced by one that returns the given vectors unchanged."""

    def __init__(self, model: PreTrainedModel) -> None:
        setattr(model, model.base_model_prefix, _Given(model.base_model))
        self._model = model

    def __call__(self, vectors: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._model(inputs_embeds=vectors[None]).logits[0]
        return logits


class _Given(torch.nn.Module):
    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.embeddings = getattr(transformer, "embeddings", None)  # some heads multiply by the word embeddings

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)
