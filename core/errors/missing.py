"""Errors for things that do not exist."""

from __future__ import annotations

from core.errors.base import SalienceError


class NotFound(SalienceError):
    """There is no such thing."""

    code = "not_found"


class CollectionNotFound(NotFound):
    """There is no such collection."""

    code = "collection_not_found"

    def __init__(self, message: str | None = None, *, param: str | None = None, hint: str | None = None) -> None:
        """`hint`: which collections there are; stands behind the message, for callers who may know."""
        super().__init__(message, param=param)
        self.plain = self.message  # without the hint
        if hint is not None:
            self.args = (f"{self.plain}; {hint}",)


class DocumentNotFound(NotFound):
    """There is no such document."""

    code = "document_not_found"


class HitNotFound(NotFound):
    """There is no such passage; its document was replaced or deleted."""

    code = "hit_not_found"


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key_not_found"


class AliasNotFound(NotFound):
    """There is no such alias."""

    code = "alias_not_found"


class ReindexNotFound(NotFound):
    """The collection is not, and was not, reindexed."""

    code = "reindex_not_found"
