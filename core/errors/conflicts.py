"""Errors for requests that conflict with the current state."""

from __future__ import annotations

from core.errors.base import SalienceError


class Conflict(SalienceError):
    """The request contradicts the present state."""

    code = "conflict"


class CollectionExists(Conflict):
    """There is already a collection of this name."""

    code = "collection_exists"


class ModelMismatch(Conflict):
    """The collection was embedded by another model than the one that is loaded."""

    code = "model_mismatch"


class CursorExpired(Conflict):
    """The collection was reindexed since the page that the cursor came with; begin with the first page again."""

    code = "cursor_expired"


class EmbeddingsMissing(Conflict):
    """Stored embeddings that the commit relied on were deleted meanwhile; embed their passages and commit again."""

    code = "embeddings_missing"
    retryable = True


class CollectionMoved(Conflict):
    """The collection was switched to another generation meanwhile; nothing was written. Try again."""

    code = "collection_moved"
    retryable = True


class ReindexConflict(Conflict):
    """The state of the collection's reindex does not allow this."""

    code = "reindex_conflict"


class DocumentsRefused(Conflict):
    """The settings or the model of a reindex refuse documents of the collection; change these or delete them."""

    code = "documents_refused"


class JobConflict(Conflict):
    """The job's state does not allow this."""

    code = "job_conflict"


class StillReceived(JobConflict):
    """Another request with this idempotency key is being received; repeat this one later."""

    code = "still_received"
    retryable = True
    retry_after = 5.0


class LeaseLost(Conflict):
    """Another worker has the job now, or it was cancelled; nothing was written."""

    code = "lease_lost"


class LastAdminKey(Conflict):
    """This is the last key that may do everything; make another one first."""

    code = "last_admin_key"


class LimitReached(Conflict):
    """The key has as much as it may have."""

    code = "limit_reached"
