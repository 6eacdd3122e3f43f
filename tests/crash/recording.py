"""Records what this process writes to the disk, in order: SQLite's writes and syncs, and those of Python.

SQLite's come through a VFS that passes everything on to its own one and keeps a copy. It is registered by ctypes with
the very library that Python's sqlite3 uses, so no compiler and no other SQLite is needed. Python's functions that
create, rename, remove and sync files are wrapped; what was written to a file between is read from the file itself
whenever one of them is called.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OK = 0
_METHODS = (
    "close", "read", "write", "truncate", "sync", "size", "lock", "unlock", "check_reserved", "control", "sector_size",
    "characteristics", "shm_map", "shm_lock", "shm_barrier", "shm_unmap", "fetch", "unfetch",
)  # fmt: skip
_VFS_METHODS = (
    "open", "delete", "access", "full_pathname", "dl_open", "dl_error", "dl_sym", "dl_close", "randomness", "sleep",
    "current_time", "last_error", "current_time64", "set_system_call", "get_system_call", "next_system_call",
)  # fmt: skip


class _Methods(ctypes.Structure):
    """sqlite3_io_methods"""

    _fields_ = [("version", ctypes.c_int), *((name, ctypes.c_void_p) for name in _METHODS)]


class _File(ctypes.Structure):
    """sqlite3_file"""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


class _Vfs(ctypes.Structure):
    """sqlite3_vfs"""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in _VFS_METHODS),
    ]


_Open = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_OpenDirectory = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int))
_SetSystemCall = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_GetSystemCall = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)

Event = tuple[Any, ...]  # what happened, to which path, and with what; see tests/crash/disk.py


class Recorder:
    """Keeps the events below `root`, in memory, until `save`. One in a process, before any database is opened."""

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve())
        self._events: list[Event] = []
        self._lock = threading.RLock()
        self._databases: set[str] = set()  # paths that SQLite writes: their content is known write by write
        self._new: set[str] = set()  # files that Python has opened, until they are read for the first time
        self._sqlite = _SqliteRecorder(self)  # SQLite calls its functions as long as the process lives
        self._sqlite.register()
        self._wrap_python()

    def say(self, *event: Any) -> None:
        """An event that is not the file system's: an acknowledgement, in its place among the others."""
        with self._lock:
            self._events.append(event)

    def save(self, path: Path) -> None:
        with self._lock:
            path.write_bytes(pickle.dumps(self._events))

    def note(self, kind: str, path: str, *details: Any) -> None:
        if _within(path, self._root):
            self.say(kind, os.path.relpath(path, self._root), *details)

    def note_database(self, path: str, new: bool) -> None:
        with self._lock:
            self._databases.add(path)
            if new:
                self.note("create", path)

    def _wrap_python(self) -> None:
        os.fsync = self._around(os.fsync, lambda fd: self._synced(os.readlink(f"/proc/self/fd/{fd}")))
        os.fdatasync = self._around(os.fdatasync, lambda fd: self._synced(os.readlink(f"/proc/self/fd/{fd}")))
        os.rename = self._before(os.rename, self._renaming)
        os.replace = self._before(os.replace, self._renaming)
        os.mkdir = self._around(os.mkdir, lambda path, mode=0o777, dir_fd=None: self.note("mkdir", _path(path, dir_fd)))
        os.rmdir = self._around(os.rmdir, lambda path, dir_fd=None: self.note("rmdir", _path(path, dir_fd)))
        os.unlink = os.remove = self._around(
            os.unlink, lambda path, dir_fd=None: self.note("unlink", _path(path, dir_fd))
        )
        sys.addaudithook(self._audit)

    def _around(self, function: Callable[..., Any], noted: Callable[..., None]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            with self._lock:
                answer = function(*args, **options)
                noted(*args, **options)
                return answer

        return wrapped

    def _before(self, function: Callable[..., Any], prepare: Callable[..., Event]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            with self._lock:
                event = prepare(*args)
                answer = function(*args, **options)
                self.note(*event)
                return answer

        return wrapped

    def _audit(self, name: str, args: tuple[Any, ...]) -> None:
        """Files that Python opens for writing. The hook is called before they are."""
        if name != "open" or not isinstance(args[0], str | bytes) or not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.path.abspath(os.fsdecode(args[0]))
        if _within(path, self._root) and path not in self._databases:
            with self._lock:
                if not os.path.exists(path):
                    self.note("create", path)
                self._new.add(path)

    def _renaming(self, source: Any, target: Any) -> Event:
        old, new = _path(source), _path(target)
        self._read(old)
        for known in (self._databases, self._new):
            known |= {new + path[len(old) :] for path in known if _within(path, old)}
        if not _within(new, self._root):
            return ("unlink", old)
        return ("rename", old, os.path.relpath(new, self._root))

    def _synced(self, path: str) -> None:
        if os.path.isdir(path):
            self.note("sync directory", path)
        else:
            self._read(path)
            self.note("sync", path)

    def _read(self, path: str) -> None:
        """Note what the files at or below `path` hold now."""
        for file in sorted(file for file in self._new if _within(file, path)):
            if os.path.isfile(file):
                self.note("content", file, Path(file).read_bytes())


class _SqliteRecorder:
    """The VFS. What its functions are given by SQLite is passed on unchanged, and noted where it succeeded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._library = sqlite_library()
        self._paths: dict[int, str] = {}  # by the address of the open file
        self._copies: dict[int, _Methods] = {}  # of tables of methods, by the address of the original
        self._directories = threading.local()  # opened by SQLite within the call at hand: it does so to sync them
        self._kept: list[Any] = []  # ctypes frees what nobody holds

    def register(self) -> None:
        find = self._library.sqlite3_vfs_find
        find.restype, find.argtypes = ctypes.POINTER(_Vfs), [ctypes.c_char_p]
        original = find(None)
        vfs = _Vfs.from_buffer_copy(original.contents)
        vfs.name, vfs.next = b"recorded", None
        vfs.open = self._callback(_Open, self._opener(_Open(original.contents.open)))
        vfs.delete = self._callback(_Delete, self._deleter(_Delete(original.contents.delete)))
        self._watch_directories(original)
        self._kept.append(vfs)
        self._library.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), ctypes.c_int]
        assert self._library.sqlite3_vfs_register(ctypes.byref(vfs), 1) == _OK

    def _callback(self, kind: Any, function: Callable[..., int]) -> int:
        made = kind(function)
        self._kept.append(made)
        address = ctypes.cast(made, ctypes.c_void_p).value
        assert address is not None
        return address

    def _opener(self, passed_on: Any) -> Callable[..., int]:
        def opened(vfs: int, name: int | None, file: int, flags: int, out_flags: Any) -> int:
            path = None if name is None else os.fsdecode(ctypes.string_at(name))
            new = path is not None and not os.path.exists(path)
            result = int(passed_on(vfs, name, file, flags, out_flags))
            if result == _OK and path is not None:
                self._paths[file] = path
                handle = _File.from_address(file)
                handle.methods = ctypes.pointer(self._recorded(handle.methods))
                self._recorder.note_database(path, new)
            return result

        return opened

    def _recorded(self, methods: Any) -> _Methods:
        """The table with three methods replaced."""
        original = methods.contents
        address = ctypes.addressof(original)
        if address not in self._copies:
            copy = _Methods.from_buffer_copy(original)
            copy.write = self._callback(_Write, self._writer(_Write(original.write)))
            copy.truncate = self._callback(_Truncate, self._truncater(_Truncate(original.truncate)))
            copy.sync = self._callback(_Sync, self._syncer(_Sync(original.sync)))
            self._copies[address] = copy
        return self._copies[address]

    def _writer(self, passed_on: Any) -> Callable[..., int]:
        def write(file: int, data: int, size: int, offset: int) -> int:
            with self._recorder._lock:
                result = int(passed_on(file, data, size, offset))
                if result == _OK:
                    self._recorder.note("write", self._paths[file], offset, ctypes.string_at(data, size))
            return result

        return write

    def _truncater(self, passed_on: Any) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            with self._recorder._lock:
                result = int(passed_on(file, size))
                if result == _OK:
                    self._recorder.note("truncate", self._paths[file], size)
            return result

        return truncate

    def _syncer(self, passed_on: Any) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            with self._recorder._lock:
                self._directories.opened = []
                result = int(passed_on(file, flags))
                if result == _OK:
                    self._recorder.note("sync", self._paths[file])
                    self._note_directories()
            return result

        return sync

    def _deleter(self, passed_on: Any) -> Callable[..., int]:
        def delete(vfs: int, name: bytes, sync_directory: int) -> int:
            with self._recorder._lock:
                self._directories.opened = []
                result = int(passed_on(vfs, name, sync_directory))
                if result == _OK:
                    self._recorder.note("unlink", os.fsdecode(name))
                    self._note_directories()
            return result

        return delete

    def _watch_directories(self, original: Any) -> None:
        """SQLite syncs a directory behind its own back: it is seen opening it, and trusted to sync it then."""
        address = ctypes.addressof(original.contents)
        found = _GetSystemCall(original.contents.get_system_call)(address, b"openDirectory")
        passed_on = _OpenDirectory(found)

        def open_directory(path: bytes, descriptor: Any) -> int:
            result = int(passed_on(path, descriptor))
            if result == _OK:
                self._directories.opened.append(os.path.dirname(os.fsdecode(path)))
            return result

        replaced = self._callback(_OpenDirectory, open_directory)
        assert _SetSystemCall(original.contents.set_system_call)(address, b"openDirectory", replaced) == _OK

    def _note_directories(self) -> None:
        for path in self._directories.opened:
            self._recorder.note("sync directory", path)


def sqlite_library() -> ctypes.CDLL:
    """The library that Python's sqlite3 is linked with. Raises OSError where its functions cannot be reached."""
    sqlite3.connect(":memory:").close()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        raise OSError("no /proc here: power cuts cannot be recorded")
    lines = maps.read_text().splitlines()
    paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if "sqlite3" in line)
    for path in (*(path for path in paths if "libsqlite3" in path), *paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "sqlite3_vfs_find"):
            library.sqlite3_libversion.restype = ctypes.c_char_p
            if library.sqlite3_libversion().decode() == sqlite3.sqlite_version:
                return library
    raise OSError("this Python's SQLite does not show its functions to others: power cuts cannot be recorded")


def _path(path: Any, dir_fd: int | None = None) -> str:
    text = os.fsdecode(path)
    if dir_fd is not None:
        text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
    return os.path.abspath(text)


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + "/")
