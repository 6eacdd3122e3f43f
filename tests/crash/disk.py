"""What is on the disk after a power cut: what was synced, and any part of what was not.

The rules are the strictest that a file system may follow. Of a file's writes since its last sync each one is there, or
not, or in parts of 512 bytes, whatever became of those before and after it; of two writes to the same bytes the later
one is never undone by the earlier. A name that was given, changed or removed is so for certain only after its directory
was synced. Renaming is atomic.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.crash.child import ACKNOWLEDGED
from tests.crash.recording import Event

SECTOR = 512
_MOODS = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.9, 0.3), (0.1, 0.3))
# What is chosen for each file and each directory: how likely a change is there, and how likely a write is torn.


@dataclass(eq=False, slots=True)
class File:
    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)  # writes, or a new size

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        _write(self.current, offset, data)

    def truncate(self, size: int) -> None:
        self.pending.append(size)
        _truncate(self.current, size)

    def become(self, content: bytes) -> None:
        """Whatever made it so since it was last looked at."""
        if len(content) < len(self.current):
            self.truncate(len(content))
        for start in range(0, len(content), SECTOR):
            if content[start : start + SECTOR] != self.current[start : start + SECTOR]:
                self.write(start, content[start : start + SECTOR])

    def sync(self) -> None:
        self.durable[:] = self.current
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        kept, torn = chance.choice(_MOODS)
        content = bytearray(self.durable)
        for change in self.pending:
            if isinstance(change, int):
                if chance.random() < kept:
                    _truncate(content, change)
            elif chance.random() < torn:
                for offset, data in _sectors(*change):
                    if chance.random() < 0.5:
                        _write(content, offset, data)
            elif chance.random() < kept:
                _write(content, *change)
        return bytes(content)


@dataclass(eq=False, slots=True)
class _Naming:
    """Names of one directory that changed together: what they stand for now; None: nothing."""

    names: dict[str, File | Directory | None]
    only_after: _Naming | None = None  # a name that is moved to another directory goes when it has come there
    durable: bool = False


@dataclass(eq=False, slots=True)
class Directory:
    durable: dict[str, File | Directory] = field(default_factory=dict)
    current: dict[str, File | Directory] = field(default_factory=dict)
    pending: list[_Naming] = field(default_factory=list)

    def change(self, naming: _Naming) -> None:
        self.pending.append(naming)
        _rename(self.current, naming)

    def sync(self) -> None:
        self.durable = dict(self.current)
        for naming in self.pending:
            naming.durable = True
        self.pending.clear()


class Disk:
    """A directory tree, as it is seen and as it is on the disk."""

    def __init__(self, root: Path) -> None:
        """All that is there now is on the disk. Shared memory and locks never are."""
        self._root = _read(root)

    def apply(self, event: Event) -> None:
        """Raises KeyError, ValueError for an event that cannot be: the recording missed something."""
        kind, path = event[0], PurePosixPath(event[1])
        if _forgotten(path.name):
            return
        match event:
            case ("create", _):
                self._parent(path).change(_Naming({path.name: File()}))
            case ("mkdir", _):
                self._parent(path).change(_Naming({path.name: Directory()}))
            case ("write", _, offset, data):
                self._file(path).write(offset, data)
            case ("truncate", _, size):
                self._file(path).truncate(size)
            case ("content", _, content):
                self._file(path).become(content)
            case ("sync", _):
                self._file(path).sync()
            case ("sync directory", _):
                self._directory(path).sync()
            case ("unlink" | "rmdir", _):
                self._parent(path).change(_Naming({path.name: None}))
            case ("rename", _, target):
                self._rename(path, PurePosixPath(target))
            case _:
                raise ValueError(f"an event of an unknown kind: {kind}")

    def cut(self, chance: random.Random, target: Path) -> None:
        """Write to `target` what a power cut at this moment may leave."""
        _cut(self._root, chance, target, {})

    def contents(self) -> dict[str, bytes]:
        """All files as they are seen, by path: what there is while the power lasts."""
        return dict(_contents(self._root, ""))

    def _rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        moved = self._parent(source).current[source.name]
        if source.parent == target.parent:
            self._parent(source).change(_Naming({source.name: None, target.name: moved}))
        else:
            arrival = _Naming({target.name: moved})
            self._parent(target).change(arrival)
            self._parent(source).change(_Naming({source.name: None}, only_after=arrival))

    def _directory(self, path: PurePosixPath) -> Directory:
        found = self._root
        for name in path.parts:
            inner = found.current[name]
            assert isinstance(inner, Directory), path
            found = inner
        return found

    def _parent(self, path: PurePosixPath) -> Directory:
        return self._directory(path.parent)

    def _file(self, path: PurePosixPath) -> File:
        found = self._parent(path).current[path.name]
        assert isinstance(found, File), path
        return found


def cuts(root: Path, events: Sequence[Event], places: Sequence[int]) -> Iterator[tuple[int, Disk]]:
    """The disk after so many of the events, for each of `places`, ascending. `root`: as it was before the first.

    Events of other kinds than the file system's begin with a word in capitals.
    """
    disk, done = Disk(root), 0
    for place in sorted(places):
        for event in events[done:place]:
            if not event[0].isupper():
                disk.apply(event)
        done = place
        yield place, disk


def moments(events: Sequence[Event], count: int, chance: random.Random) -> list[int]:
    """For power cuts: any, and as often those just after an acknowledgement, and just after a renaming."""
    places = range(1, len(events) + 1)
    kinds = [
        places,
        [place for place in places if events[place - 1][0] in ACKNOWLEDGED] or places,
        [place for place in places if events[place - 1][0] == "rename"] or places,
    ]
    return [chance.choice(kinds[number % len(kinds)]) for number in range(count)]


def _read(directory: Path) -> Directory:
    made = Directory()
    for path in directory.iterdir():
        if path.is_dir():
            made.durable[path.name] = _read(path)
        elif not _forgotten(path.name):
            content = path.read_bytes()
            made.durable[path.name] = File(durable=bytearray(content), current=bytearray(content))
    made.current = dict(made.durable)
    return made


def _contents(directory: Directory, path: str) -> Iterator[tuple[str, bytes]]:
    for name, node in directory.current.items():
        if isinstance(node, File):
            yield f"{path}{name}", bytes(node.current)
        else:
            yield from _contents(node, f"{path}{name}/")


def _cut(directory: Directory, chance: random.Random, target: Path, kept: dict[_Naming, bool]) -> None:
    target.mkdir()
    names, likely = dict(directory.durable), max(chance.choice(_MOODS))
    for naming in directory.pending:
        if _is_kept(naming, chance, likely, kept):
            _rename(names, naming)
    for name, node in names.items():
        if isinstance(node, File):
            (target / name).write_bytes(node.after_cut(chance))
        else:
            _cut(node, chance, target / name, kept)


def _is_kept(naming: _Naming, chance: random.Random, likely: float, kept: dict[_Naming, bool]) -> bool:
    """Decided once for each: two directories may ask, that of a file's old name and that of its new one."""
    if naming.durable:
        return True
    if naming not in kept:
        possible = naming.only_after is None or _is_kept(naming.only_after, chance, likely, kept)
        kept[naming] = possible and chance.random() < likely
    return kept[naming]


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """A write as the disk does it: piece by piece, cut where the disk's own sectors end."""
    start = 0
    while start < len(data):
        end = start + SECTOR - (offset + start) % SECTOR
        yield offset + start, data[start:end]
        start = end


def _forgotten(name: str) -> bool:
    return name.endswith(("-shm", ".lock"))


def _rename(names: dict[str, File | Directory], naming: _Naming) -> None:
    for name, node in naming.names.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _truncate(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
