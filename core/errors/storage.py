"""Errors of the data directory and of the external engine that holds passages."""

from __future__ import annotations

from core.errors.base import SalienceError


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


class LockHeld(StorageBusy):
    """Another process or thread is at this work; what was to be done is left to it."""

    code = "lock_held"


class StorageCorrupt(StorageError):
    """The data directory is damaged."""

    code = "storage_corrupt"


class IndexUnavailable(SalienceError):
    """The engine that holds this collection's passages does not answer."""

    code = "index_unavailable"
    retryable = True


class IndexMissing(IndexUnavailable):
    """The engine that the settings name has none of this collection's passages: it lost them, or is another one."""

    code = "index_missing"
    retry_after = 30.0  # by then the loss has been noticed
