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
        problem = f"the model of this name is another now (fingerprint {encoder.fingerprint})"
    else:
        problem = f"there is no model of this name here; what is loaded is {encoder.name}"
    raise ModelMismatch(
        f"the collection {collection.name!r} was embedded by {active.model} (fingerprint {active.fingerprint}), and "
        f"{problem}. Name the former in the settings, in the precision and with the settings of then, or reindex the "
        "collection with a model that is there"
    )


def only(encoder: Encoder) -> DenseModels:
    """For where there is a single model: collections of others are refused."""

    def of(collection: Collection) -> Encoder:
        return checked(encoder, collection)

    return of
