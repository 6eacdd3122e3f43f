"""Every error that Salience raises on purpose, as one tree.

    SalienceError
    ├── InvalidInput                 the caller can mend it (HTTP 400)
    │   ├── InvalidQuery             query text, k, legs, fusion
    │   ├── InvalidControl           factor, span, threshold of an attention control
    │   ├── InvalidFilter            unknown field or operator, value of the wrong type
    │   ├── InvalidDocument          a record that cannot become a document
    │   ├── InvalidSettings          collection or process settings
    │   ├── UnreadableFile           a file that no reader can make sense of
    │   └── UnwritableFile           a file that a command was to write
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
    │   ├── CursorExpired            the collection was reindexed since the page before
    │   ├── EmbeddingsMissing        deleted between the embedding and the commit; embed again
    │   ├── CollectionMoved          another generation serves under its name by now; prepare and commit again
    │   ├── ReindexConflict          a reindex whose state does not allow this, or that has nothing to do
    │   ├── DocumentsRefused         what a reindex has to bring over, and its settings or model do not take
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
    │   └── ModelUnavailable         a model of the settings that cannot be loaded (HTTP 503)
    ├── RemoteError                  an embedding service elsewhere (HTTP 502)
    │   ├── RemoteUnavailable        down, slow, over its quota; try again (HTTP 503)
    │   ├── RemoteRefused            it did not take the request: key, model name
    │   └── RemoteMismatch           it answered with what cannot be: count, dimension, nan, another model
    ├── IndexUnavailable             the engine that holds a collection's passages; try again (HTTP 503)
    │   └── IndexMissing             it lacks the collection, which is brought there anew
    └── StorageError                 the data directory
        ├── SchemaTooNew             written by a newer Salience
        ├── DirectoryInUse           by a process that does not go together with this one
        ├── StorageReadOnly
        ├── StorageFull
        ├── StorageBusy              another process holds the lock; try again
        │   └── LockHeld             somebody else is at this very work: there is nothing to do here
        └── StorageCorrupt

`code` is stable and part of the API. The docstring of a class is its message when none is given.
One module an area; everybody imports from here.
"""

from __future__ import annotations

from core.errors.base import SalienceError
from core.errors.conflicts import (
    CollectionExists,
    CollectionMoved,
    Conflict,
    CursorExpired,
    DocumentsRefused,
    EmbeddingsMissing,
    JobConflict,
    LastAdminKey,
    LeaseLost,
    LimitReached,
    ModelMismatch,
    ReindexConflict,
    StillReceived,
)
from core.errors.inputs import (
    InvalidControl,
    InvalidDocument,
    InvalidFilter,
    InvalidInput,
    InvalidQuery,
    InvalidSettings,
    TooLarge,
    UnreadableFile,
    UnwritableFile,
)
from core.errors.missing import (
    AliasNotFound,
    CollectionNotFound,
    DocumentNotFound,
    HitNotFound,
    JobNotFound,
    KeyNotFound,
    ModelNotFound,
    NotFound,
    ReindexNotFound,
)
from core.errors.models import (
    ModelError,
    ModelUnavailable,
    RemoteError,
    RemoteMismatch,
    RemoteRefused,
    RemoteUnavailable,
)
from core.errors.refusals import Abandoned, Forbidden, InvalidSignature, QueueFull, SeqNotReached
from core.errors.storage import (
    DirectoryInUse,
    IndexMissing,
    IndexUnavailable,
    LockHeld,
    SchemaTooNew,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
)

__all__ = [
    "Abandoned",
    "AliasNotFound",
    "CollectionExists",
    "CollectionMoved",
    "CollectionNotFound",
    "Conflict",
    "CursorExpired",
    "DirectoryInUse",
    "DocumentNotFound",
    "DocumentsRefused",
    "EmbeddingsMissing",
    "Forbidden",
    "HitNotFound",
    "IndexMissing",
    "IndexUnavailable",
    "InvalidControl",
    "InvalidDocument",
    "InvalidFilter",
    "InvalidInput",
    "InvalidQuery",
    "InvalidSettings",
    "InvalidSignature",
    "JobConflict",
    "JobNotFound",
    "KeyNotFound",
    "LastAdminKey",
    "LeaseLost",
    "LimitReached",
    "LockHeld",
    "ModelError",
    "ModelMismatch",
    "ModelNotFound",
    "ModelUnavailable",
    "NotFound",
    "QueueFull",
    "ReindexConflict",
    "ReindexNotFound",
    "RemoteError",
    "RemoteMismatch",
    "RemoteRefused",
    "RemoteUnavailable",
    "SalienceError",
    "SchemaTooNew",
    "SeqNotReached",
    "StillReceived",
    "StorageBusy",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "StorageReadOnly",
    "TooLarge",
    "UnreadableFile",
    "UnwritableFile",
]
