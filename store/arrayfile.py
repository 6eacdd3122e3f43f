"""File format of a sealed segment: named arrays behind a header with the offset and the hash of each.

    magic, version, length of the table | table, JSON | zeros up to a multiple of 64 | array | zeros | array | ...

Numbers are little-endian. The database keeps the SHA-256 of the header, the header holds the SHA-256 of every array,
and the padding between them is zero, so a change of any bit is detected. A file is written once and never changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from core.errors import StorageCorrupt, StorageError
from store.failpoints import reached

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

VERSION = 1
_MAGIC = b"SALSEG\r\n"
_START = struct.Struct("<8sII")  # magic, version, bytes of the table
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_KINDS = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<i8", "<f2", "<f4", "<f8")
_UNHASHED = "0" * 64
_BLOCK = 2**24  # bytes that are hashed or written at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """What the database stores about a file."""

    size: int  # bytes
    sha256: bytes  # of the header


class ArrayWriter:
    """Writes a new file. Each array is filled from its first row to its last; arrays may be interleaved.

    Leaving the block by an error or without `finish` leaves an unfinished file behind; the caller removes it.
    """

    def __init__(self, path: Path, layout: Mapping[str, tuple[npt.DTypeLike, Shape]]) -> None:
        """`layout`: dtype and shape of every array. All methods may raise OSError; FileExistsError if `path` exists."""
        self._sections = _laid_out(layout)
        self._filled = dict.fromkeys(layout, 0)
        self._hashes = {name: hashlib.sha256() for name in layout}
        self._file = path.open("xb")
        self._file.truncate(_end(self._sections))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def append(self, name: str, values: Array) -> None:
        """Append rows to an array. Raises ValueError for more rows than its shape has."""
        section = self._sections[name]
        content = np.ascontiguousarray(values, dtype=section.kind).reshape(-1).view(np.uint8).data
        if self._filled[name] + len(content) > section.size:
            raise ValueError(f"array {name}: more than the {section.shape} that were announced")
        self._file.seek(section.offset + self._filled[name])
        for begin in range(0, len(content), _BLOCK):
            block = content[begin : begin + _BLOCK]
            self._file.write(block)
            self._hashes[name].update(block)
        self._filled[name] += len(content)

    def finish(self) -> Seal:
        """Write the header; the file is synced to disk on return. Raises ValueError when an array is not full."""
        for name, section in self._sections.items():
            if self._filled[name] != section.size:
                raise ValueError(f"array {name}: {self._filled[name]} of {section.size} bytes were written")
        header = _header(self._sections, {name: hash_.hexdigest() for name, hash_ in self._hashes.items()})
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        reached("segment.written")
        os.fsync(self._file.fileno())
        return Seal(size=_end(self._sections), sha256=hashlib.sha256(header).digest())


def open_file(
    path: Path, seal: Seal, *, only: Collection[str] | None = None, unhashed: Collection[str] = ()
) -> dict[str, Array]:
    """All arrays, or those named in `only`, read-only, over one memory map that lives as long as any of them.

    Checks their hashes, except for the arrays named in `unhashed`. Raises StorageCorrupt, which names the file and
    what is wrong with it; StorageError when the file exists but cannot be read.
    """
    try:
        mapped, sections = _mapped(path, seal)
        if only is not None:
            sections = {name: section for name, section in sections.items() if name in only}
        for name, section in sections.items():
            if name not in unhashed and _hash(mapped, section) != section.sha256:
                raise _Damage(_CHANGED.format(name))
    except _Damage as damage:
        raise StorageCorrupt(f"segment file {path}: {damage}") from damage.__cause__
    return {name: _array(mapped, section) for name, section in sections.items()}


def check_file(path: Path, seal: Seal) -> list[str]:
    """Every problem of the file, down to the last bit. Raises StorageError when it cannot be read."""
    try:
        mapped, sections = _mapped(path, seal)
    except _Damage as damage:
        return [str(damage)]
    problems = [_CHANGED.format(name) for name, section in sections.items() if _hash(mapped, section) != section.sha256]
    end = 0  # of what was checked: the header ends at the first array, and its hash covers the zeros before it
    for section in sorted(sections.values(), key=lambda section: section.offset):
        if end and any(mapped[end : section.offset]):
            problems.append(f"bytes between its arrays, from {end} on, are not zero")
        end = section.offset + section.size
    return problems


class _Damage(Exception):
    """What is wrong with a file, without the file's name."""


_CHANGED = "its array {!r} is not what was written"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Section:
    """Where an array lies in the file."""

    kind: str  # numpy's dtype string: byte order, type, bytes
    shape: Shape
    offset: int  # in the file
    sha256: str = _UNHASHED

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        return self.count * np.dtype(self.kind).itemsize


def _laid_out(layout: Mapping[str, tuple[npt.DTypeLike, Shape]]) -> dict[str, _Section]:
    kinds = {name: np.dtype(kind).newbyteorder("<").str for name, (kind, _) in layout.items()}
    for name, kind in kinds.items():
        if kind not in _KINDS:
            raise ValueError(f"array {name}: of {kind}; a segment file holds {', '.join(_KINDS)}")
    shapes = {name: tuple(map(int, shape)) for name, (_, shape) in layout.items()}
    # The header's length depends on the digits of the offsets, which depend on the header's length.
    begin = 0
    while True:
        sections, end = {}, begin
        for name, kind in kinds.items():
            sections[name] = _Section(kind=kind, shape=shapes[name], offset=_aligned(end))
            end = sections[name].offset + sections[name].size
        length = len(_header(sections, {}))
        if length <= begin:
            return sections
        begin = length


def _header(sections: Mapping[str, _Section], hashes: Mapping[str, str]) -> bytes:
    """Everything before the first array, padding included."""
    table = json.dumps(
        [
            [name, section.kind, section.shape, section.offset, hashes.get(name, _UNHASHED)]
            for name, section in sections.items()
        ],
        separators=(",", ":"),
    ).encode()
    header = _START.pack(_MAGIC, VERSION, len(table)) + table
    begin = min((section.offset for section in sections.values()), default=0)
    return header.ljust(max(begin, _aligned(len(header))), b"\0")


def _mapped(path: Path, seal: Seal) -> tuple[mmap.mmap, dict[str, _Section]]:
    """The file mapped into memory, and its sections, all of which lie within it. Raises _Damage, StorageError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != seal.size or size < _START.size:
                raise _Damage(f"has {size} bytes; {seal.size} were written")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise _Damage("is not there") from error
    except OSError as error:
        raise StorageError(f"segment file {path}: cannot be read ({error.strerror})") from error
    problem = "its header is not what was written"
    magic, version, length = _START.unpack_from(mapped)
    header = mapped[: _aligned(_START.size + min(length, size))]
    if hashlib.sha256(header).digest() != seal.sha256:
        raise _Damage(problem)
    if magic != _MAGIC:
        raise _Damage("is no segment file")
    if version != VERSION:
        raise _Damage(f"of version {version}; this program reads {VERSION}")
    try:
        sections = _parsed(json.loads(header[_START.size : _START.size + length]), len(header), size)
    except (ValueError, TypeError, KeyError) as error:
        raise _Damage(f"{problem} ({error})") from error
    return mapped, sections


def _parsed(table: Sequence[Sequence[Any]], begin: int, size: int) -> dict[str, _Section]:
    """Parse the table. Raises ValueError or TypeError if it is invalid, even if the hash matches.

    Arrays are created over these offsets without further checks.
    """
    sections: dict[str, _Section] = {}
    end = begin
    for name, kind, shape, offset, sha256 in table:
        section = _Section(kind=kind, shape=tuple(shape), offset=offset, sha256=sha256)
        numbers = [offset, *section.shape]
        if kind not in _KINDS or name in sections or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"array {name!r} cannot be read")
        if offset != _aligned(end) or offset + section.size > size:
            raise ValueError(f"array {name!r} does not lie within the file")
        sections[name] = section
        end = offset + section.size
    if end != size:
        raise ValueError(f"its arrays end at byte {end}")
    return sections


def _blocks(mapped: mmap.mmap, section: _Section) -> Iterator[memoryview]:
    whole = memoryview(mapped)
    for begin in range(section.offset, section.offset + section.size, _BLOCK):
        yield whole[begin : min(begin + _BLOCK, section.offset + section.size)]


def _hash(mapped: mmap.mmap, section: _Section) -> str:
    found = hashlib.sha256()
    for block in _blocks(mapped, section):
        found.update(block)
    return found.hexdigest()


def _array(mapped: mmap.mmap, section: _Section) -> Array:
    found = np.frombuffer(mapped, dtype=section.kind, count=section.count, offset=section.offset)
    return found.reshape(section.shape)


def _end(sections: Mapping[str, _Section]) -> int:
    return max((section.offset + section.size for section in sections.values()), default=0)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
