"""Segment files: write one, open it for searches, mark it as damaged, and remove files that are no longer needed."""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np

from core.errors import StorageCorrupt, StorageError
from core.records import IndexKind, Int64Array
from core.syncing import make_directories, sync
from store.arrayfile import Array, ArrayWriter, Seal, check_file, open_file
from store.directory import SEGMENTS
from store.failpoints import reached
from store.faults import file_errors
from store.scan import codes_of, open_scan, scan_arrays
from store.segments.merging import Merge, MergedPostings
from store.segments.postings import Postings
from store.segments.rows import SegmentRow
from store.segments.segment import Segment, largest_norm

_DAMAGED = ".damaged"  # suffix of an empty marker file: the maintenance owner rebuilds the segment from the database
_UNFINISHED = ".unfinished"
_SUFFIX = ".segment"
_AGAIN_SECONDS = 10.0  # before an unreadable segment is tried again
_IDS, _VECTORS, _SCAN = "ids", "vectors", "scan."
_POSTINGS: dict[str, Callable[[Segment], Postings]] = {
    "terms": lambda segment: segment.postings,
    "learned": lambda segment: segment.learned,
}
_log = logging.getLogger(__name__)


def new_file(data_dir: Path, merge: Merge, index: IndexKind) -> tuple[str, Seal]:
    """Write the segment `merge` to a new file; returns its name and seal. The file is complete and on disk.

    Raises StorageFull, StorageReadOnly, StorageError; then there is no file.
    """
    directory = data_dir / SEGMENTS
    name = f"{secrets.token_hex(8)}{_SUFFIX}"  # never reused: opening a name gives its segment or nothing
    unfinished = directory / f"{name}{_UNFINISHED}"
    try:
        with file_errors(data_dir):
            make_directories(directory)
            reached("segment.begun")
            seal = _write(unfinished, merge, index)
            reached("segment.synced")
            unfinished.rename(directory / name)
            reached("segment.renamed")
            sync(directory)
            reached("segment.durable")
    except BaseException:
        discard(data_dir, [unfinished.name, name])
        raise
    return name, seal


def discard(data_dir: Path, names: Iterable[str]) -> None:
    """Remove files that no row names or will name. Errors are ignored: leftovers are removed later."""
    for name in names:
        with suppress(OSError):
            (data_dir / SEGMENTS / name).unlink(missing_ok=True)


class OpenSegments:
    """The open segments of a generation, each opened once and shared by all snapshots. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._segments: dict[int, Segment | None] = {}  # by row id; None: damaged
        self._again: dict[int, float] = {}  # by row id: time.monotonic at which to try again

    @property
    def due(self) -> bool:
        """Whether an unreadable segment should be tried again now, as the cause may have passed."""
        return time.monotonic() >= min(list(self._again.values()), default=math.inf)

    def get(self, row: SegmentRow) -> Segment | None:
        """The segment; None when its file is missing or damaged, which is logged once and marked for the maintainer.

        Also None when it cannot be read now, as with too many open files: it is `due` again after a while.
        """
        with self._lock:
            if row.id not in self._segments:
                try:
                    self._segments[row.id] = open_segment(self._data_dir, row)
                except StorageError as error:
                    _log.warning("%s; its %d passages are read from the database, and searched slower", error, row.rows)
                    if not isinstance(error, StorageCorrupt):
                        self._again[row.id] = time.monotonic() + _AGAIN_SECONDS
                        return None
                    mark_damaged(self._data_dir, row)
                    self._segments[row.id] = None
                self._again.pop(row.id, None)
            return self._segments[row.id]

    def keep(self, rows: Iterable[SegmentRow]) -> None:
        """Forget all other segments."""
        ids = {row.id for row in rows}
        with self._lock:
            self._segments = {id_: segment for id_, segment in self._segments.items() if id_ in ids}
            self._again = {id_: due for id_, due in self._again.items() if id_ in ids}


def open_segment(data_dir: Path, row: SegmentRow, *, thorough: bool = False) -> Segment:
    """Open the segment's file. All hashes are checked; that of the vectors only if `thorough`.

    Raises StorageCorrupt when the file is missing or not what was written, StorageError when it cannot be read.
    """
    segment, scan = open_apart(data_dir, row, thorough=thorough)
    return replace(segment, scan=open_scan(scan, segment.vectors.shape[1]))


def open_apart(data_dir: Path, row: SegmentRow, *, thorough: bool = False) -> tuple[Segment, dict[str, Array]]:
    """Like `open_segment`, but returns the scan's arrays, as `scan_arrays` made them, instead of opening the scan."""
    arrays = open_file(data_dir / SEGMENTS / row.name, row.seal, unhashed=() if thorough else (_VECTORS,))
    segment = Segment(
        ids=arrays[_IDS],
        documents=arrays["documents"],
        vectors=arrays[_VECTORS],
        largest_norm=float(arrays["largest_norm"][0]),
        postings=_postings(arrays, "terms"),
        learned=_postings(arrays, "learned"),
    )
    return segment, {name.removeprefix(_SCAN): array for name, array in arrays.items() if name.startswith(_SCAN)}


def open_ids(data_dir: Path, row: SegmentRow) -> Int64Array:
    """The passage ids of a segment, without reading the rest of its file. Raises like `open_segment`."""
    return open_file(data_dir / SEGMENTS / row.name, row.seal, only=(_IDS,))[_IDS]


def segment_problems(data_dir: Path, row: SegmentRow) -> list[str]:
    """Every problem of the segment's file, down to the last bit. Raises StorageError."""
    return check_file(data_dir / SEGMENTS / row.name, row.seal)


def is_damaged(data_dir: Path, row: SegmentRow) -> bool:
    """Whether the file is missing or marked as damaged."""
    file = data_dir / SEGMENTS / row.name
    return not file.exists() or file.with_name(f"{row.name}{_DAMAGED}").exists()


def mark_damaged(data_dir: Path, row: SegmentRow) -> None:
    """Mark the segment, so that the maintenance owner rebuilds it."""
    try:
        if (data_dir / SEGMENTS).is_dir():  # otherwise all files are missing, which needs no mark
            (data_dir / SEGMENTS / f"{row.name}{_DAMAGED}").touch()
    except OSError as error:  # a read-only or full directory can still be searched
        _log.warning("segment file %s cannot be marked as damaged: %s", row.name, error.strerror)


def strays(data_dir: Path, named: Collection[str]) -> list[Path]:
    """The files in the segments folder that are neither in `named` nor their marks."""
    directory = data_dir / SEGMENTS
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    return [path for path in files if path.name.removesuffix(_DAMAGED) not in named and not path.is_dir()]


def remove_files(data_dir: Path, *, unless: Collection[str], older_than: float) -> int:
    """Remove all files in the segments folder except for `unless` and their marks; returns how many were removed.

    `older_than`: minimum distance of the last change from now, in seconds, in either direction, as the clock may have
    jumped.
    """
    removed = 0
    for path in strays(data_dir, unless):
        try:
            if abs(time.time() - path.stat().st_mtime) >= older_than:
                path.unlink()
                removed += 1
                reached("segment.removed")
        except FileNotFoundError:  # an unfinished file that has been renamed meanwhile
            continue
        except PermissionError as error:
            if os.name != "nt":
                raise
            _log.info("segment file %s is in use, and stays for now (%s)", path, error.strerror)
    return removed


def _write(path: Path, merge: Merge, index: IndexKind) -> Seal:
    rows = len(merge.ids)
    dimension = merge.sources[0].segment.vectors.shape[1]
    layout: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
        _IDS: (merge.ids.dtype, (rows,)),
        "documents": (merge.documents.dtype, (rows,)),
        "largest_norm": (np.dtype(np.float64), (1,)),
        _VECTORS: (np.dtype(np.float32), (rows, dimension)),
    }
    inverted = {name: merge.postings(of) for name, of in _POSTINGS.items()}
    for name, postings in inverted.items():
        layout |= {f"{name}.{part}": (array.dtype, array.shape) for part, array in _tables(postings).items()}
        for part, number in zip(("rows", "values"), postings.kinds, strict=True):
            layout[f"{name}.{part}"] = (number, (int(postings.offsets[-1]),))
    faiss.omp_set_num_threads(1)  # for the calling thread only: leaves room for searches
    scan = scan_arrays(
        rows,
        merge.vectors,
        merge.gather(lambda segment: codes_of(segment.vectors, segment.scan)),
        index,
    )
    layout |= {f"{_SCAN}{name}": (array.dtype, array.shape) for name, array in scan.items()}
    with ArrayWriter(path, layout) as file:
        file.append(_IDS, merge.ids)
        file.append("documents", merge.documents)
        norm = 0.0
        for block in merge.vectors():
            norm = max(norm, largest_norm(block))
            file.append(_VECTORS, block)
        file.append("largest_norm", np.array([norm]))
        for name, postings in inverted.items():
            for part, array in _tables(postings).items():
                file.append(f"{name}.{part}", array)
            for held, values in postings.blocks():
                file.append(f"{name}.rows", held)
                file.append(f"{name}.values", values)
        for name, array in scan.items():
            file.append(f"{_SCAN}{name}", array)
        return file.finish()


def _tables(postings: MergedPostings) -> dict[str, Array]:
    return {"terms": postings.terms, "offsets": postings.offsets, "lengths": postings.lengths}


def _postings(arrays: dict[str, Array], name: str) -> Postings:
    return Postings(
        terms=arrays[f"{name}.terms"],
        offsets=arrays[f"{name}.offsets"],
        rows=arrays[f"{name}.rows"],
        values=arrays[f"{name}.values"],
        lengths=arrays[f"{name}.lengths"],
    )
