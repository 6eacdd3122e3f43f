"""Versions, names and tokenizers of the models in the Aleph Alpha API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.models import Models
from core.errors import InvalidInput, ModelError
from embedder.kinds import ModelKind

if TYPE_CHECKING:
    from core.protocols import Encoder
    from embedder.causal.model import CausalModel
    from embedder.tokens import TextTokenizer

VERSION_DIGITS = 12  # of the fingerprint


def model_version(model: Encoder | CausalModel) -> str:
    """Name and fingerprint. Vectors of different versions are not comparable, and their texts may differ."""
    return f"{model.name}-{model.fingerprint[:VERSION_DIGITS]}"


def causal_names(models: Models) -> list[str]:
    """The names of the configured causal language models."""
    found = []
    for name in models.names:
        try:
            if models.describe(name).kind is ModelKind.CAUSAL:
                found.append(name)
        except ModelError:  # its folder is gone; asking for the model says so
            continue
    return found


def tokenizer_of(models: Models, name: str) -> TextTokenizer:
    """The tokenizer of an encoder or causal model. Raises ModelNotFound, and InvalidInput if only a remote has it."""
    from embedder.tokens import TextTokenizer

    causal = models.describe(name).kind is ModelKind.CAUSAL
    model = models.causal_model(name) if causal else models.encoder(name)
    found = getattr(model, "tokenizer", None)
    if not isinstance(found, TextTokenizer):
        raise InvalidInput(f"model {name} runs elsewhere, and its tokenizer is not known here", param="model")
    return found
