"""Every error that Salience raises on purpose, as one tree.

    SalienceError
    ├── InvalidInput                 the caller can mend it (HTTP 400)
    │   ├── InvalidQuery             query text, k, legs, fusion
    │   ├── InvalidControl           factor, span, threshold of an attention control
    │   ├── InvalidFilter            unknown field or operator, value of the wrong type
    │   ├── InvalidDocument          a record that cannot become a document
    │   ├── InvalidSettings          collection or process settings
    │   └── UnreadableFile           a file that no reader can make sense of
    ├── NotFound                     (HTTP 404)
    │   ├── CollectionNotFound
    │   ├── DocumentNotFound
    │   ├── HitNotFound
    │   ├── JobNotFound
    │   ├── ModelNotFound
    │   ├── KeyNotFound
    │   ├── AliasNotFound
    │   └── ReindexNotFound
    ├── Conflict                     (HTTP 409)
    │   ├── CollectionExists
    │   ├── ModelMismatch            the collection was embedded by another model
    │   ├── CursorExpired            the collection was indexed anew since the page before
    │   ├── EmbeddingsMissing        deleted between the embedding and the commit; embed again
    │   ├── CollectionMoved          another generation serves under its name by now; prepare and commit again
    │   ├── ReindexConflict          a reindex whose state does not allow this, or that has nothing to do
    │   ├── JobConflict              a job whose state does not allow this, or another request's idempotency key
    │   │   └── StillReceived        that request is still coming in; try again
    │   ├── LeaseLost                another worker has the job now, or it was cancelled
    │   ├── LastAdminKey             without it nobody could administrate any more
    │   └── LimitReached             collections or passages of a key's limit
    ├── TooLarge                     more than a stated limit (HTTP 413)
    ├── QueueFull                    more documents wait than allowed; try again (HTTP 429)
    ├── SeqNotReached                the state that was asked for is not committed yet; try again (HTTP 503)
    ├── Abandoned                    nobody waits for the answer any more, or it is too late for it (HTTP 503)
    ├── Forbidden                    the caller is known, and may not do this (HTTP 403)
    ├── InvalidSignature             a signed request whose signature does not hold (HTTP 401)
    ├── ModelError                   a model folder that cannot be used
    ├── RemoteError                  an embedding service elsewhere (HTTP 502)
    │   ├── RemoteUnavailable        down, slow, over its quota; try again (HTTP 503)
    │   ├── RemoteRefused            it did not take the request: key, model name, input
    │   └── RemoteMismatch           it answered with what cannot be: count, dimension, nan, another model
    └── StorageError                 the data directory
        ├── SchemaTooNew             written by a newer Salience
        ├── DirectoryInUse           by a process that does not go together with this one
        ├── StorageReadOnly
        ├── StorageFull
        ├── StorageBusy              another process holds the lock; try again
        └── StorageCorrupt

`code` is stable and part of the API. The docstring of a class is its message when none is given.
"""

from __future__ import annotations

import inspect


class SalienceError(Exception):
    """Something in Salience went wrong."""

    code = "error"
    retryable = False
    retry_after: float | None = None  # seconds after which another try has a chance; None: unknown

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        """`message` says what was wrong, where, and what is allowed; `param` names the offending input."""
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or self.code))
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidInput(SalienceError):
    """The input is not valid."""

    code = "invalid_input"


class InvalidQuery(InvalidInput):
    """The query is not valid."""

    code = "invalid_query"


class InvalidControl(InvalidInput):
    """The attention control is not valid."""

    code = "invalid_control"


class InvalidFilter(InvalidInput):
    """The filter is not valid."""

    code = "invalid_filter"


class InvalidDocument(InvalidInput):
    """The document is not valid."""

    code = "invalid_document"


class InvalidSettings(InvalidInput):
    """The settings are not valid."""

    code = "invalid_settings"


class UnreadableFile(InvalidInput):
    """The file cannot be read."""

    code = "unreadable_file"


class NotFound(SalienceError):
    """There is no such thing."""

    code = "not_found"


class CollectionNotFound(NotFound):
    """There is no such collection."""

    code = "collection_not_found"


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
    """The collection was indexed anew since the page that the cursor came with; begin with the first page again."""

    code = "cursor_expired"


class EmbeddingsMissing(Conflict):
    """Stored embeddings that the commit relied on were deleted meanwhile; embed their passages and commit again."""

    code = "embeddings_missing"
    retryable = True


class CollectionMoved(Conflict):
    """Another generation of the collection answers under its name by now; nothing was written. Try again."""

    code = "collection_moved"
    retryable = True


class ReindexConflict(Conflict):
    """The state of the collection's reindex does not allow this."""

    code = "reindex_conflict"


class JobConflict(Conflict):
    """The job's state does not allow this."""

    code = "job_conflict"


class StillReceived(JobConflict):
    """Another request with this idempotency key is being received; repeat this one later."""

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


class TooLarge(SalienceError):
    """The input is larger than allowed."""

    code = "too_large"


class QueueFull(SalienceError):
    """Too many documents wait to be indexed; try again later."""

    code = "queue_full"
    retryable = True
    retry_after = 10.0


class SeqNotReached(SalienceError):
    """The collection has not come to the state that was asked for; try again."""

    code = "seq_not_reached"
    retryable = True


class Abandoned(SalienceError):
    """The time that the request was given is over before its answer was there; give it more, or try again later."""

    code = "abandoned"
    retryable = True


class Forbidden(SalienceError):
    """Whoever asks for this may not do it."""

    code = "forbidden"


class InvalidSignature(SalienceError):
    """The request's signature does not hold."""

    code = "invalid_signature"


class ModelError(SalienceError):
    """The model cannot be used."""

    code = "model_error"


class RemoteError(SalienceError):
    """The remote embedding service failed."""

    code = "remote_error"


class RemoteUnavailable(RemoteError):
    """The remote embedding service cannot be reached, or asks to wait."""

    code = "remote_unavailable"
    retryable = True

    def __init__(
        self, message: str | None = None, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class RemoteRefused(RemoteError):
    """The remote embedding service refused the request."""

    code = "remote_refused"


class RemoteMismatch(RemoteError):
    """The remote embedding service answered with something that does not fit the request."""

    code = "remote_mismatch"


class StorageError(SalienceError):
    """The data directory cannot be used."""

    code = "storage_error"


class SchemaTooNew(StorageError):
    """The data directory was written by a newer Salience; upgrade the program."""

    code = "schema_too_new"


class DirectoryInUse(StorageError):
    """The data directory is in use by a process that does not go together with this one."""

    code = "directory_in_use"


class StorageReadOnly(StorageError):
    """The data directory cannot be written to."""

    code = "storage_read_only"


class StorageFull(StorageError):
    """The disk is full."""

    code = "storage_full"
    retryable = True


class StorageBusy(StorageError):
    """The database is locked by another process."""

    code = "storage_busy"
    retryable = True


class StorageCorrupt(StorageError):
    """The data directory is damaged."""

    code = "storage_corrupt"
