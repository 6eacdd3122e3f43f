"""The input of a commit (`Batch`) and its result (`Receipt`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from core.errors import ModelError, ModelMismatch
from core.records import Collection, Document, Float32Array, Passage, SparseVector
from store.filters.metadata import StoredMetadata


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftPassage:
    """A passage to be stored."""

    passage: Passage
    sha: bytes  # SHA-256 of all that its embedding depends on: prompt text, controls, language of the analysis


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A document to be stored, split into passages."""

    document: Document
    metadata: StoredMetadata  # of the document
    language: str  # ISO 639-1
    content_sha: bytes  # SHA-256 of all that the passages depend on: title, text, controls, language, splitting
    passages: tuple[DraftPassage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """The dense vector, the terms and the learned weights by which a passage is found."""

    vector: Float32Array  # (dimension,)
    terms: Mapping[
        str, float
    ]  # term: its frequency, a multiple of store.terms.FREQUENCY_STEP above 0; empty without BM25
    learned: SparseVector | None = None  # where the collection has a sparse model


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one commit writes. Of drafts with the same document id the last wins; a deletion wins over any draft."""

    collection: Collection
    fingerprint: str  # of the encoder that made the vectors
    sparse_fingerprint: str | None = None  # of the sparse encoder that made the learned weights
    drafts: tuple[Draft, ...] = ()
    embeddings: Mapping[bytes, Embedding] = field(default_factory=dict)  # by DraftPassage.sha; those not stored yet
    deletions: tuple[str, ...] = ()  # document ids; unknown ones are ignored

    @classmethod
    def without_model(
        cls, collection: Collection, *, drafts: Sequence[Draft] = (), deletions: Sequence[str] = ()
    ) -> Self:
        """A batch without embeddings: `drafts` of documents whose content is already stored, and deletions."""
        active = collection.active
        return cls(
            collection=collection,
            fingerprint=active.fingerprint,
            sparse_fingerprint=active.sparse_fingerprint,
            drafts=tuple(drafts),
            deletions=tuple(deletions),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a commit did, in numbers of documents."""

    seq: int  # views with this seq or a higher one contain the commit
    created: int
    replaced: int  # the content changed: new passages
    updated: int  # only the metadata changed
    unchanged: int
    deleted: int


def check_embeddings(batch: Batch) -> None:
    """Raises ModelMismatch for embeddings that do not fit the collection, ModelError for values that are invalid."""
    dimension = batch.collection.active.dimension
    for embedding in batch.embeddings.values():
        if embedding.vector.shape != (dimension,):
            raise ModelMismatch(
                f"a vector of shape {embedding.vector.shape}; the collection {batch.collection.name!r} "
                f"holds vectors of {dimension} dimensions"
            )
        if not np.isfinite(embedding.vector).all():
            raise ModelError("the model made a vector with a value that is not finite; nothing was written")
        if embedding.learned is not None:
            _check_learned(embedding.learned)
        if (embedding.learned is None) != (batch.sparse_fingerprint is None):
            raise ModelMismatch(
                f"the collection {batch.collection.name!r} has learned weights for all of its passages or for none"
            )


def _check_learned(vector: SparseVector) -> None:
    rising = len(vector.ids) == len(vector.weights) and bool((np.diff(vector.ids, prepend=-1) > 0).all())
    if not (rising and np.isfinite(vector.weights).all() and (vector.weights > 0).all()):
        raise ModelError("the sparse model made weights that are not finite, not above 0 or not in order of their ids")
