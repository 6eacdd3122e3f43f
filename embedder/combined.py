"""Encodes prompts as dense vectors and learned sparse weights together, by one model or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from core.errors import ModelMismatch, ModelNotFound
from core.prompts import ControlOptions, Prompt
from core.protocols import Encoder, HybridEncoder, Priority, Progress, SparseEncoder, SparseModels
from core.records import Collection, Embeddings, Representation, SparseEmbeddings


def sparse_model_of(collection: Collection, models: SparseModels | None) -> SparseEncoder | None:
    """The sparse encoder that made the collection's learned weights; None if the collection has none.

    Raises ModelNotFound if no model of its name is configured, and ModelMismatch if the name now means another model.
    """
    active = collection.active
    if active.sparse_model is None:
        return None
    if models is None:
        raise ModelNotFound(
            f"collection {collection.name!r} has learned weights by {active.sparse_model}, and no sparse models are "
            "configured here"
        )
    try:
        model = models(active.sparse_model)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"collection {collection.name!r} has learned weights by the model {active.sparse_model!r}, "
            f"which the settings must name: {error.message}"
        ) from error
    if model.fingerprint != active.sparse_fingerprint:
        raise ModelMismatch(
            f"the learned weights of collection {collection.name!r} were made by {active.sparse_model} "
            f"(fingerprint {active.sparse_fingerprint}), and this name now loads another model ({model.fingerprint}); "
            "configure that model again, with the same precision and settings, or reindex the collection"
        )
    return model


def encode_together(
    encoder: Encoder,
    sparse: SparseEncoder,
    prompts: Sequence[Prompt],
    representation: Representation,
    *,
    options: ControlOptions | None = None,
    priority: Priority = Priority.INTERACTIVE,
    progress: Progress | None = None,
) -> tuple[Embeddings, SparseEmbeddings]:
    """Embed `prompts` in one forward pass if `encoder` and `sparse` are the same model, else one after the other.

    `progress` counts a prompt once, when its dense vector is computed. Raises what the encoders raise.
    """
    options = options or ControlOptions()
    other: object = sparse
    if encoder is other:
        both = cast("HybridEncoder", encoder)
        return both.encode_hybrid(prompts, representation, options=options, priority=priority, progress=progress)
    weights = sparse.encode_sparse(prompts, representation, options=options, priority=priority)
    vectors = encoder.encode(prompts, representation, options=options, priority=priority, progress=progress)
    return vectors, weights
