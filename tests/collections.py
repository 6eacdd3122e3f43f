"""Collections for a model."""

from __future__ import annotations

from core.protocols import Encoder, SparseEncoder
from core.records import Collection, CollectionSettings
from store import Database
from store.catalog import create_collection


def create_for(
    encoder: Encoder,
    database: Database,
    name: str,
    settings: CollectionSettings | None = None,
    *,
    sparse: SparseEncoder | None = None,
) -> Collection:
    """An empty collection whose passages these models embed; `settings` that say nothing are the defaults."""
    with database.write() as session:
        return create_collection(
            session,
            name,
            settings or CollectionSettings(),
            model=encoder.name,
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
            sparse_model=None if sparse is None else sparse.name,
            sparse_fingerprint=None if sparse is None else sparse.fingerprint,
        )
