"""The dense index in segments of dozens of passages: codes, lists and graphs, which otherwise take thousands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from core.records import Float64Array
from store import View, dense, fastscan, scan
from store.segments.files import open_apart
from store.segments.rows import SegmentRow

CODED_ROWS, LISTED_ROWS = 20, 60
_LEAST_FOUND = (
    0.5  # share of the ten nearest that codes of eight dimensions find in the worst case; the scores are exact
)
_CHANGED = 0.01  # share of the codes that may be others when they are made anew: the last bit of a product


def index_everything() -> None:
    """For this process, and for good: small segments get codes and lists, and searches go through them."""
    scan.CODED_ROWS, fastscan.LISTED_ROWS = CODED_ROWS, LISTED_ROWS
    dense.EXACT_PASSAGES, dense.EXACT_MATCHES, dense._MORE, dense._MORE_FILTERED = 0, 0, 10, 10


@contextmanager
def searched_by_codes() -> Iterator[None]:
    """Searches in the block go through codes, lists and graphs, where segments have them."""
    with mock.patch.multiple(dense, EXACT_PASSAGES=0, EXACT_MATCHES=0, _MORE=10, _MORE_FILTERED=10):
        yield


def index_problems(data_dir: Path, row: SegmentRow, seen: Counter[str]) -> list[str]:
    """What is wrong with what a segment has for dense searches, made anew from its vectors. Counts in `seen`."""
    segment, arrays = open_apart(data_dir, row)
    seen.update(arrays.keys() & {"codes", "lists", "graph"})
    problems = []
    if "codes" not in arrays:
        return [f"{row.rows} passages without codes"] if row.rows >= CODED_ROWS else []
    codes = scan.codes_of(segment.vectors, None)
    if codes.shape != arrays["codes"].shape or (codes != arrays["codes"]).mean() > _CHANGED:
        problems.append("its codes are not those of its vectors")
    if ("lists" in arrays) != (row.rows >= LISTED_ROWS):
        problems.append(f"{row.rows} passages {'in lists' if 'lists' in arrays else 'without lists'}")
    elif "lists" in arrays and (len(arrays["lists"]) != row.rows or arrays["lists"].max() >= len(arrays["centroids"])):
        problems.append("its lists are not those of its rows")
    opened = scan.open_scan(arrays, segment.vectors.shape[1])
    if opened is not None and opened.graph is not None and opened.graph.rows != row.rows:
        problems.append(f"its graph is of {opened.graph.rows} rows")
    return problems


def search_problem(view: View, query: Float64Array, right: dict[int, float], k: int) -> str | None:
    """What is wrong with the passages that codes find. `right`: the scores of all that may be found, by id."""
    allowed = None if len(right) == view.passage_count else np.array(sorted(right), dtype=np.int64)
    with searched_by_codes():
        pool = view.nearest(query.astype(np.float32), k, allowed)
    found = [right.get(id_, np.nan) for id_ in pool.ids.tolist()]
    best = sorted(right.values(), reverse=True)[:k]
    if len(found) != len(best) or len(set(pool.ids.tolist())) != len(best):
        return f"{len(found)} passages, not {len(best)}"
    if not np.allclose(pool.scores, found, atol=1e-6):
        return f"scores {pool.scores.tolist()}; they must be {found}"
    share = float(np.mean(pool.scores >= best[-1] - 1e-6)) if best else 1.0
    return f"{share:.0%} of the nearest" if share < _LEAST_FOUND else None
