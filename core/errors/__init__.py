"""The hierarchy of all errors that Salience raises deliberately.

    SalienceError
    ├── InvalidInput                 the caller can fix it (HTTP 400)
    │   ├── InvalidQuery             query text, k, legs, fusion
    │   ├── InvalidControl           factor, span, threshold of an attention control
    │   ├── InvalidFilter            unknown field or operator, value of the wrong type
    │   ├── InvalidDocument          a record that cannot become a document
    │   ├── InvalidSettings          collection or process settings
    │   ├── UnreadableFile           a file that no reader understands
    │   └── UnwritableFile           an output file of a command
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
    │   ├── CursorExpired            the collection was reindexed since the previous page
    │   ├── EmbeddingsMissing        deleted between the embedding and the commit; embed again
    │   ├── CollectionMoved          another generation serves under its name by now; prepare and commit again
    │   ├── ReindexConflict          the reindex is in a state that does not allow this, or has nothing to do
    │   ├── DocumentsRefused         the new settings or model of a reindex do not accept some documents
    │   ├── JobConflict              the job's state does not allow this, or another request used the idempotency key
    │   │   └── StillReceived        that request is still being received; try again
    │   ├── LeaseLost                another worker has the job now, or it was cancelled
    │   ├── LastAdminKey             removing it would leave no key that can administer the server
    │   └── LimitReached             the key's limit of collections or passages
    ├── TooLarge                     more than a stated limit (HTTP 413)
    ├── QueueFull                    too many documents are queued; try again (HTTP 429)
    ├── SeqNotReached                the requested state is not committed yet; try again (HTTP 503)
    ├── Abandoned                    nobody waits for the answer any more, or it is too late for it (HTTP 503)
    ├── Forbidden                    the caller is known, but may not do this (HTTP 403)
    ├── InvalidSignature             the signature of a signed request is invalid (HTTP 401)
    ├── ModelError                   a model folder that cannot be used
    │   └── ModelUnavailable         a configured model that cannot be loaded (HTTP 503)
    ├── RemoteError                  a remote embedding service failed (HTTP 502)
    │   ├── RemoteUnavailable        down, slow, over its quota; try again (HTTP 503)
    │   ├── RemoteRefused            it rejected the request: key, model name
    │   └── RemoteMismatch           its answer does not fit: count, dimension, nan, another model
    ├── IndexUnavailable             the engine that holds a collection's passages is down; try again (HTTP 503)
    │   └── IndexMissing             it lacks the collection, which is then copied there again
    └── StorageError                 the data directory
        ├── SchemaTooNew             written by a newer Salience
        ├── DirectoryInUse           by a process that must not run together with this one
        ├── StorageReadOnly
        ├── StorageFull
        ├── StorageBusy              another process holds the lock; try again
        │   └── LockHeld             another process or thread does this work already: nothing to do here
        └── StorageCorrupt

`code` is stable and part of the API. The docstring of a class is its default message.
There is one module for each area; all other packages import from here.
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
