"""Check the write-ahead log before SQLite opens it: that it belongs to the database, and that it is intact.

SQLite reads a log up to the first frame with a wrong checksum, and silently ignores the rest. After a power cut that is
right, as the last transaction was not acknowledged. In the middle of a log it loses transactions that were.

Source: "The WAL file format", https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from core.errors import StorageBusy, StorageCorrupt
from store.directory import DATABASE_NAME

_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint, 2 salts, 2 checksums
_FRAME_WORDS = 6  # page, size of the database after a commit or 0, 2 salts, 2 checksums
_MAGIC = 0x377F0682  # with the last bit set, checksums are of big-endian words
_BYTES_AT_ONCE = 8 * 2**20
_IDENTITY_BYTES = slice(60, 64)  # of the first page: SQLite's user version, which holds the database's identity
_PAUSE_SECONDS = 0.05

_Words = npt.NDArray[np.uint32]
_Flags = npt.NDArray[np.bool_]


def check_log(directory: Path) -> None:
    """Compare the log in `directory` with its database; others may be writing to both.

    Raises StorageCorrupt where the database of a log is gone, where the log belongs to another database, and where it
    is damaged before its last transaction: opening it would lose what was committed.
    """
    path, log = directory / DATABASE_NAME, directory / f"{DATABASE_NAME}-wal"
    if not log.exists() or log.stat().st_size <= _HEADER.size:
        return
    if not path.exists() or not path.stat().st_size:
        raise StorageCorrupt(
            f"data directory {directory}: holds the write-ahead log {log.name} and no {path.name}, or an empty one; "
            "SQLite would delete the log with all that is only there. Put the database back, or move the log away"
        )
    found = _settled(path, log)
    if found is None:
        return
    ours = _identity_of(path)
    strangers = {identity for identity in found.identities if ours and identity and identity != ours}
    if strangers:
        raise StorageCorrupt(
            f"data directory {directory}: the write-ahead log {log.name} belongs to another database than {path.name}, "
            "one from before a backup was put in its place for example; together they would be neither. Move the log "
            "away to open the database as it is, or put the log's own database back"
        )
    if found.lost:
        raise StorageCorrupt(
            f"data directory {directory}: the write-ahead log {log.name} is damaged at frame {found.intact + 1} of "
            f"{found.frames}; SQLite would drop {found.lost} committed transactions from there on without a word. "
            "Restore the last backup, or copy the directory and give them up with: salience repair"
        )


def lost_transactions(directory: Path) -> int:
    """Minimum number of committed transactions lost to damage in a log; 0 where it is sound or missing."""
    log = directory / f"{DATABASE_NAME}-wal"
    found = _settled(directory / DATABASE_NAME, log) if log.exists() else None
    return 0 if found is None else found.lost


def cut_log(directory: Path) -> int:
    """Truncate a damaged log after its last sound transaction, for good; the minimum number of transactions lost.

    Nobody may have the database open, this process included: raises StorageBusy where another one has.
    """
    log = directory / f"{DATABASE_NAME}-wal"
    found = _settled(directory / DATABASE_NAME, log) if log.exists() else None
    if found is None or not found.lost:
        return 0
    _check_alone(directory)
    with log.open("r+b") as file:
        file.truncate(found.sound_bytes)
    return found.lost


def new_identity() -> int:
    """A random identity for a new or copied database, which distinguishes its log from that of any other."""
    return secrets.randbelow(2**31 - 1) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Log:
    """The result of reading a log."""

    header: bytes
    frames: int  # up to the last one that is intact, or that SQLite reads
    intact: int  # length of the intact run from the beginning, which SQLite reads
    sound_bytes: int  # up to the last commit in that run
    lost: int  # acknowledged transactions from the damage on
    identities: frozenset[int]  # identities in the copies of the database's first page


def _settled(database: Path, log: Path) -> _Log | None:
    """Read the log. Damage counts only when seen twice, as a writer may be at work."""
    before: _Log | None = None
    while True:
        found = _scan(database, log)
        if found is None or not found.lost:
            return found
        if before is not None and (before.header, before.intact) == (found.header, found.intact):
            return found
        before = found
        time.sleep(_PAUSE_SECONDS)


def _scan(database: Path, log: Path) -> _Log | None:
    try:
        with log.open("rb") as file:
            return _read(file, _page_size(database))
    except FileNotFoundError:  # the last process has just closed it
        return None


def _read(file: BinaryIO, page_size: int) -> _Log | None:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, logged_size, _, *salts, first, second = _HEADER.unpack(header)
    order = ">u4" if magic & 1 else "<u4"
    known = magic & ~1 == _MAGIC and _checksum(np.frombuffer(header[:24], order)) == (first, second)
    if known:
        page_size = logged_size
    else:  # SQLite treats the log as empty
        order = "=u4"  # SQLite writes checksums in the machine's byte order
    if not _is_page_size(page_size):
        return None
    before = np.array([first, second], dtype=np.uint32)
    commits, ours, intact = [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)]
    identities: set[int] = set()
    for frames in _frames(file, page_size):
        fields = frames[:, : _FRAME_WORDS * 4].copy().view(">u4").astype(np.uint32)
        if not known and len(ours) == 1:  # the salts can still be taken from the frames
            salts = [int(salt) for salt in fields[0, 2:4]]
        ours.append((fields[:, 2:4] == np.array(salts, dtype=np.uint32)).all(axis=1))
        intact.append(ours[-1] & _follow(frames, fields, before, order))
        commits.append(fields[:, 1] > 0)
        for at in np.flatnonzero(intact[-1] & (fields[:, 0] == 1)):
            page = frames[at, _FRAME_WORDS * 4 :]
            identities.add(int.from_bytes(page[_IDENTITY_BYTES].tobytes(), "big"))
        before = fields[-1, 4:6]
    return _judged(
        header,
        _FRAME_WORDS * 4 + page_size,
        known,
        np.concatenate(commits),
        np.concatenate(ours),
        np.concatenate(intact),
        frozenset(identities),
    )


def _judged(
    header: bytes, size: int, known: bool, commits: _Flags, ours: _Flags, intact: _Flags, identities: frozenset[int]
) -> _Log:
    """`size`: bytes of a frame; `known`: whether the log's header is sound; the flags are per frame."""
    broken = 0 if not known else int(np.argmin(np.append(intact, False)))
    sound = np.flatnonzero(commits[:broken])
    later = np.flatnonzero(intact[broken:]) + broken
    last = int(later[-1]) if len(later) else broken - 1
    # A commit was acknowledged if anything follows it: SQLite syncs it before it writes on. The last one may have been
    # cut short by a power cut. (Under a damaged header even that one was acknowledged: the header is synced first.)
    place = np.arange(len(intact))
    dropped = commits & ours & (intact | (place == broken)) & (place >= broken)
    acknowledged = dropped & (place < last) if known else dropped
    return _Log(
        header=header,
        frames=last + 1,
        intact=broken,
        sound_bytes=_HEADER.size + (int(sound[-1]) + 1 if len(sound) else 0) * size,
        lost=int(dropped.sum()) if acknowledged.any() else 0,
        identities=identities,
    )


def _frames(file: BinaryIO, page_size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """(frames, bytes) arrays of whole frames, some at a time."""
    size = _FRAME_WORDS * 4 + page_size
    while True:
        read = file.read(max(1, _BYTES_AT_ONCE // size) * size)
        if len(read) < size:
            return
        yield np.frombuffer(read[: len(read) // size * size], np.uint8).reshape(-1, size)


def _follow(frames: npt.NDArray[np.uint8], fields: _Words, before: _Words, order: str) -> _Flags:
    """(frames,) whether each frame's checksum fits its content and the checksum in the frame before."""
    covered = np.concatenate([frames[:, :8], frames[:, _FRAME_WORDS * 4 :]], axis=1)
    words = covered.view(order).astype(np.uint32, copy=False)
    previous = np.concatenate([before[None, :], fields[:-1, 4:6]])
    follows = np.ones(len(frames), np.bool_)
    first, second, carried = _weights(words.shape[1])
    for column, weights in enumerate((first, second)):
        computed = words @ weights + previous @ carried[column]
        follows &= computed == fields[:, 4 + column]
    return follows


@cache
def _weights(words: int) -> tuple[_Words, _Words, _Words]:
    """SQLite's checksum as a linear map modulo 2**32: the weights of each word in both sums, and those of the
    preceding sums.

    Two words at a time: s1 += x0 + s2, then s2 += x1 + s1.
    """
    first, second = [0] * words, [0] * words
    a, b, c, d = 1, 0, 0, 1  # after the remaining pairs, sums (s1, s2) become a*s1 + b*s2, c*s1 + d*s2
    for at in range(words - 2, -1, -2):
        first[at], second[at] = (a + b) % 2**32, (c + d) % 2**32  # x0 is added to both sums
        first[at + 1], second[at + 1] = b, d
        a, b, c, d = (a + b) % 2**32, (a + 2 * b) % 2**32, (c + d) % 2**32, (c + 2 * d) % 2**32
    return np.array(first, np.uint32), np.array(second, np.uint32), np.array([[a, b], [c, d]], np.uint32)


def _checksum(words: npt.NDArray[np.uint32]) -> tuple[int, int]:
    first, second, _ = _weights(len(words))
    words = words.astype(np.uint32)
    return int(words @ first), int(words @ second)


def _page_size(database: Path) -> int:
    with database.open("rb") as file:
        header = file.read(18)
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else size


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and size & (size - 1) == 0


def _identity_of(database: Path) -> int:
    with database.open("rb") as file:
        return int.from_bytes(file.read(64)[_IDENTITY_BYTES], "big")


def _check_alone(directory: Path) -> None:
    """Raises StorageBusy where a process has the database open: each holds a lock on its shared memory file.

    Source: SQLite's os_unix.c, the dead man's switch behind the eight locks that begin at byte 120.
    """
    import fcntl  # missing on Windows, where an open file cannot be truncated anyway

    shared = directory / f"{DATABASE_NAME}-shm"
    if not shared.exists():
        return
    with shared.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
        except OSError as error:
            raise StorageBusy(
                f"data directory {directory}: another process has it open; stop it before its log is cut"
            ) from error
