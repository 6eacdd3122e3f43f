"""What is wrong with the data directory."""

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


class StorageCorrupt(StorageError):
    """The data directory is damaged."""

    code = "storage_corrupt"
