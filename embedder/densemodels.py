"""Which dense encoder belongs to a collection: the one that its passages were embedded by, and no other."""

from __future__ import annotations

from core.errors import ModelMismatch
from core.protocols import DenseModels, Encoder
from core.records import Collection


def checked(encoder: Encoder, collection: Collection) -> Encoder:
    """`encoder`, if the collection was embedded by it. Raises ModelMismatch that says how to go on."""
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
    """For where there is a single model: collections of others are refused."""

    def of(collection: Collection) -> Encoder:
        return checked(encoder, collection)

    return of
