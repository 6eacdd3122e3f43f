"""Models as this API speaks of them: by name, with a version and a tokenizer."""

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
    """Name and fingerprint: another one means that vectors are not comparable, or texts may differ."""
    return f"{model.name}-{model.fingerprint[:VERSION_DIGITS]}"


def causal_names(models: Models) -> list[str]:
    """The causal language models that are configured."""
    found = []
    for name in models.names:
        try:
            if models.describe(name).kind is ModelKind.CAUSAL:
                found.append(name)
        except ModelError:  # its folder is gone: who asks for it is told
            continue
    return found


def tokenizer_of(models: Models, name: str) -> TextTokenizer:
    """The tokenizer of an encoder or a causal model. Raises ModelNotFound, and InvalidInput where it is not here."""
    from embedder.tokens import TextTokenizer

    causal = models.describe(name).kind is ModelKind.CAUSAL
    model = models.causal_model(name) if causal else models.encoder(name)
    found = getattr(model, "tokenizer", None)
    if not isinstance(found, TextTokenizer):
        raise InvalidInput(f"model {name} runs elsewhere, and its tokenizer is not known here", param="model")
    return found
