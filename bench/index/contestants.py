"""The vector indexes that are compared: Salience's own, FAISS HNSW and hnswlib.

Each builds its index in a process of its own and answers one query at a time. hnswlib (0.8.0) is needed for the
comparison only. Graphs hold only the live vectors, so removed ones cost them nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from core.records import BoolArray, Float32Array, IndexKind, Int64Array
from store import dense
from store.directory import SEGMENTS
from store.scan import stacked
from store.segments.files import new_file, open_segment
from store.segments.merging import Merge
from store.segments.postings import Postings
from store.segments.rows import SegmentRow
from store.segments.segment import Segment
from store.snapshot import Part
from store.stack import Stack

SEGMENTS_OF_OURS = 4
TAIL_ROWS = 1_000
_BUILDERS = 4  # threads
_BLOCK_ROWS = 50_000
Search = Callable[[Float32Array, int], Int64Array]  # vector, k -> rows found
DEPTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)  # search depths (ef) of a graph


def removed_rows(rows: int) -> Int64Array:
    """The rows to remove: a random 1 %, sorted."""
    return np.sort(np.random.default_rng(1).choice(rows, rows // 100, replace=False))


def write_segments(folder: Path, vectors: Float32Array) -> list[SegmentRow]:
    """Seal all vectors but the tail, as the store does, in segments of equal size."""
    (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
    made = []
    for number, rows in enumerate(np.array_split(np.arange(len(vectors) - TAIL_ROWS), SEGMENTS_OF_OURS)):
        whole = _segment(rows, vectors[rows[0] : rows[-1] + 1])
        name, seal = new_file(folder, Merge([(whole, np.ones(len(rows), dtype=np.bool_))]), IndexKind.AUTO)
        made.append(SegmentRow(id=number, generation_id=1, name=name, seq=1, as_of=1, rows=len(rows), seal=seal))
    return made


def open_parts(folder: Path, sealed: Sequence[SegmentRow], vectors: Float32Array) -> list[Part]:
    """The sealed segments, opened from files, and the tail, with removed rows masked. A passage's id is its row."""
    removed = removed_rows(len(vectors))
    tail = np.arange(len(vectors) - TAIL_ROWS, len(vectors))
    segments = [*(open_segment(folder, row) for row in sealed), _segment(tail, np.array(vectors[tail]))]
    return [_part(segment, segment.without(removed)) for segment in segments]


def ours(parts: Sequence[Part]) -> Search:
    stacks = stacks_of(parts)
    return lambda vector, k: dense.nearest(parts, vector, k, None, stacks=stacks).ids


def stacks_of(parts: Sequence[Part]) -> tuple[Stack, ...]:
    """The stacks that a snapshot of these parts would have."""
    return stacked(part.segment.scan for part in parts if part.segment.scan is not None)


def faiss_graph(vectors: Float32Array, live: Int64Array) -> dict[int | None, Search]:
    """FAISS HNSW over float32 by search depth (efSearch); M = 32 neighbours, efConstruction = 100 candidates."""
    faiss.omp_set_num_threads(_BUILDERS)
    index: Any = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    for begin in range(0, len(live), _BLOCK_ROWS):
        index.add(vectors[live[begin : begin + _BLOCK_ROWS]])

    def at(depth: int) -> Search:
        parameters = vars(faiss)["SearchParametersHNSW"](efSearch=depth)
        return lambda vector, k: live[index.search(vector[None], k, params=parameters)[1][0]]

    return {depth: at(depth) for depth in DEPTHS}


def hnswlib_graph(vectors: Float32Array, live: Int64Array) -> dict[int | None, Search]:
    """hnswlib by search depth (ef); M = 16 neighbours, ef_construction = 200 candidates."""
    import hnswlib  # imported here, as measuring ours alone does not need it

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(len(live), M=16, ef_construction=200, random_seed=1)
    for begin in range(0, len(live), _BLOCK_ROWS):
        rows = live[begin : begin + _BLOCK_ROWS]
        index.add_items(vectors[rows], rows, num_threads=_BUILDERS)
    index.set_num_threads(1)

    def at(depth: int) -> Search:
        def search(vector: Float32Array, k: int) -> Int64Array:
            index.set_ef(depth)
            found: Int64Array = index.knn_query(vector, k)[0][0].astype(np.int64)
            return found

        return search

    return {depth: at(depth) for depth in DEPTHS}


def _segment(ids: Int64Array, vectors: Float32Array) -> Segment:
    nothing = np.empty(0, dtype=np.int32)
    postings = Postings.build(nothing, nothing, np.empty(0, dtype=np.float32), row_count=len(ids))
    return Segment.build(ids.astype(np.int64), ids.astype(np.int64), vectors, postings, postings)


def _part(segment: Segment, live: BoolArray) -> Part:
    unused = np.empty(0, dtype=np.float32)
    return Part(segment=segment, sealed=None, live=live, live_count=int(live.sum()), saturations=unused)
