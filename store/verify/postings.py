"""Compare the postings of a segment, sorted by term, with those of its embeddings, sorted by passage.

Sorting one like the other would take memory for all of them at once. Instead, each posting is hashed to 64 bits, and
the hashes of a passage are summed: if the sums differ, the postings differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from core.records import BoolArray, Float32Array, Int32Array, Int64Array
from store.segments.postings import Postings
from store.terms import POSTING

_BLOCK = 2**21  # postings checked at once

_Words = npt.NDArray[np.uint64]


def posting_problems(postings: Postings, rows: int) -> Iterator[str]:
    """Structural problems of the postings of a segment with so many `rows`, whatever their values."""
    count, offsets = len(postings.rows), postings.offsets
    if len(offsets) != len(postings.terms) + 1 or len(postings.values) != count or len(postings.lengths) != rows:
        yield "do not fit together"
    elif offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) <= 0).any():
        yield "do not say where each term begins"
    elif (np.diff(postings.terms, prepend=np.int32(-1)) <= 0).any():
        yield "are not in the order of their ids"
    else:
        starts = np.zeros(count + 1, np.bool_)
        starts[offsets] = True
        for begin in range(0, count, _BLOCK):
            block = postings.rows[begin : begin + _BLOCK + 1]  # with the first one of the next block
            unordered = (np.diff(block) <= 0) & ~starts[begin + 1 : begin + len(block)]
            if unordered.any() or block.min() < 0 or block.max() >= rows:
                yield "do not name their passages in order"
                return


class StoredPostings:
    """The postings of a segment, summarised per passage for comparison."""

    def __init__(self, postings: Postings) -> None:
        self._lengths = postings.lengths
        self._sums = np.zeros(len(postings.lengths), np.uint64)
        for begin in range(0, len(postings.rows), _BLOCK):
            block = slice(begin, min(begin + _BLOCK, len(postings.rows)))
            term = np.searchsorted(postings.offsets, np.arange(block.start, block.stop), side="right") - 1
            mixed = _mixed(postings.terms[term], postings.values[block])
            np.add.at(self._sums, postings.rows[block], mixed)

    def differ(self, rows: Int64Array, blobs: Sequence[bytes]) -> BoolArray:
        """(rows,) which of `rows` differ from the postings in the embeddings' `blobs`."""
        broken = np.array([len(blob) % POSTING.itemsize != 0 for blob in blobs])
        whole = [b"" if wrong else blob for wrong, blob in zip(broken, blobs, strict=True)]
        postings = np.frombuffer(b"".join(whole), POSTING)
        owners = np.repeat(np.arange(len(whole)), [len(blob) // POSTING.itemsize for blob in whole])
        sums = np.zeros(len(whole), np.uint64)
        np.add.at(sums, owners, _mixed(postings["term"], postings["value"]))
        lengths = np.bincount(owners, weights=postings["value"], minlength=len(whole))
        found: BoolArray = broken | (sums != self._sums[rows]) | (lengths != self._lengths[rows])
        return found


def _mixed(terms: Int32Array, values: Float32Array) -> _Words:
    """(postings,) a 64-bit hash of each. Source: splitmix64, Steele, Lea and Flood 2014."""
    words = (terms.astype(np.uint64) << np.uint64(32)) | np.ascontiguousarray(values).view(np.uint32)
    words += np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: _Words = words ^ (words >> np.uint64(31))
    return mixed
