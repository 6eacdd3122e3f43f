"""Detect ids that occur more than once in a run, in 8 bytes per id."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_RECENT = 1 << 16  # ids kept in a set before they are merged into the sorted array


class Duplicates:
    """A set of ids kept as 64-bit hashes: among ten million ids the chance of any false positive is 1 in 370,000."""

    def __init__(self) -> None:
        self._settled: npt.NDArray[np.uint64] = np.empty(0, np.uint64)  # sorted
        self._recent: set[int] = set()

    def seen(self, id: str) -> bool:
        """Whether `id` was passed to an earlier call; records it."""
        digest = int.from_bytes(hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
        if digest in self._recent:
            return True
        position = int(np.searchsorted(self._settled, np.uint64(digest)))
        if position < len(self._settled) and int(self._settled[position]) == digest:
            return True
        self._recent.add(digest)
        if len(self._recent) >= _RECENT:
            recent = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._settled = np.sort(np.concatenate([self._settled, recent]))
            self._recent.clear()
        return False
