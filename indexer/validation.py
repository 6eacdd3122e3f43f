"""Validate a new generation before it serves: is it complete, what is its index's recall, is its ranking any better."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.context import check_awaited
from core.records import Float32Array, Float64Array, Int64Array
from core.reindexes import Reindex, ReindexState
from store import schema
from store.clock import Clock
from store.database import Database
from store.failpoints import reached
from store.reindex.comparing import Differences, differences
from store.reindex.dualwrites import note_writes
from store.reindex.record import FILLING, changed, hidden_collection
from store.view import View
from store.views import Views

SAMPLE = 50  # passages whose nearest neighbours are searched for
DEPTH = 10  # neighbours per passage
_BLOCK = 10_000  # passages whose vectors are read at once

# Compares two collections, given by name, with judgements: {"queries": {id: text}, "qrels": {id: {document id: 0..}}}.
# Returns {"old": {measure: value}, "new": {...}, "gain": difference in nDCG@10, ...}.
Judge = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]


def validate(database: Database, views: Views, reindex: Reindex, judge: Judge | None, *, clock: Clock) -> None:
    """Compare both generations. Afterwards the reindex is READY, or FAILED with a reason that says how to go on.

    It goes back to BUILDING if documents differ, which are then noted to be copied again. Raises ReindexConflict where
    the reindex was ended meanwhile, Abandoned where the work is given up, and what searching raises.
    """
    with database.write() as session:
        reindex = changed(session, reindex, FILLING, state=ReindexState.VALIDATING.value)
        hidden = hidden_collection(session, reindex).name
    reached("reindex.validating")
    found = differences(database, reindex)
    if found.other and reindex.serving_id is not None:  # written without a note, as by a repair: copy these again
        with database.write() as session:
            changed(session, reindex, FILLING, state=ReindexState.BUILDING.value)
            note_writes(session, reindex.serving_id, found.other)
        return
    report: dict[str, Any] = {}
    with views.open(hidden) as view:
        report["passages"] = view.passage_count
    report["recall"] = recall(views, hidden)
    if reindex.judgements is not None and judge is not None:
        report |= judge(reindex.collection, hidden, json.loads(reindex.judgements))
    wanting = _wanting(reindex, report, found)
    with database.write() as session:
        values: dict[str, Any] = {"state": ReindexState.READY.value, "reason": None}
        if wanting is not None:
            values = {"state": ReindexState.FAILED.value, "reason": wanting, "ended_at": clock(session)}
        values |= {**schema.UNHINDERED, "report": json.dumps(report)}
        changed(session, reindex, (ReindexState.VALIDATING,), **values)
    reached("reindex.validated")


def recall(views: Views, name: str, sample: int = SAMPLE, depth: int = DEPTH) -> float | None:
    """Recall@`depth` of the index against exact search, mean over a sample of passages, 0 to 1; None without passages.

    Reads one consistent view, and every vector once.
    """
    with views.open(name) as view:
        ids = view.every_passage()
        if not len(ids):
            return None
        chosen = np.sort(np.random.default_rng(7).choice(ids, min(sample, len(ids)), replace=False))
        asked = view.vectors(chosen)
        truly = _nearest_scores(view, ids, asked, min(depth, len(ids)))
        # Compared by score: among equally near passages any counts.
        found = []
        for vector, best in zip(asked, truly, strict=True):
            check_awaited()
            found.append(np.count_nonzero(view.nearest(vector, depth).scores >= best[0] - 1e-6))
        return float(np.mean(np.minimum(1.0, np.array(found) / truly.shape[1])))


def _nearest_scores(view: View, ids: Int64Array, asked: Float32Array, depth: int) -> Float64Array:
    """(asked, depth) exact scores of the nearest passages of each query vector, ascending."""
    best = np.full((len(asked), depth), -np.inf)
    for begin in range(0, len(ids), _BLOCK):
        check_awaited()
        scores = asked.astype(np.float64) @ view.vectors(ids[begin : begin + _BLOCK]).astype(np.float64).T
        every = np.concatenate([best, scores], axis=1)
        best = np.partition(every, every.shape[1] - depth, axis=1)[:, -depth:]
    return np.sort(best, axis=1)


def _wanting(reindex: Reindex, report: Mapping[str, Any], found: Differences) -> str | None:
    recalled, gain = report["recall"], report.get("gain")
    if found.bare:
        return (
            f"document {found.bare[0]!r:.100} of the new generation has a passage without a vector "
            f"({len(found.bare)} in all); salience verify says more"
        )
    if recalled is not None and recalled < reindex.min_recall:
        return (
            f"the new generation's index finds {recalled:.3f} of the nearest passages, and {reindex.min_recall:g} are "
            "asked for; reindex with index exact, or ask for less (min_recall)"
        )
    if reindex.min_gain is not None and gain is not None and gain < reindex.min_gain:
        return (
            f"by the judgements the new generation gains {gain:+.4f} nDCG@10, and {reindex.min_gain:+g} are asked for; "
            "the old one goes on answering"
        )
    return None
