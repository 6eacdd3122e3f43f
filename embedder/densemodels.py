"""Matches dense encoders with collections: a collection is searched only with the model that embedded its passages."""

from __future__ import annotations

from core.errors import ModelMismatch
from core.protocols import DenseModels, Encoder
from core.records import Collection


def checked(encoder: Encoder, collection: Collection) -> Encoder:
    """Returns `encoder` if it embedded the collection. Raises ModelMismatch that says what to do otherwise."""
    active = collection.active
    if encoder.fingerprint == active.fingerprint:
        return encoder
    if encoder.name == active.model:
        problem = f"{encoder.name} now loads another model (fingerprint {encoder.fingerprint})"
    else:
        problem = f"no loaded model has this name; {encoder.name} is loaded"
    raise ModelMismatch(
        f"the collection {collection.name!r} was embedded by {active.model} (fingerprint {active.fingerprint}), and "
        f"{problem}. Configure that model again, with the same precision and settings, or reindex the collection with "
        "a loaded model"
    )


def only(encoder: Encoder) -> DenseModels:
    """A lookup that always answers `encoder`, for use with a single model; it raises ModelMismatch for other models."""

    def of(collection: Collection) -> Encoder:
        return checked(encoder, collection)

    return of
