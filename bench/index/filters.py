"""Measure the recall of filtered dense searches, where only some passages are allowed.

Random: each passage is allowed by chance. Near, far: whole clusters of passages are allowed, those nearest to the query
or farthest from it, as with a filter by subject; 1,000 clusters by k-means over a sample.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from bench.index.contestants import stacks_of
from core.records import Float32Array, Int64Array
from store import dense
from store.snapshot import Part
from store.stack import Stack

SHARES = (0.001, 0.01, 0.1, 0.5)
_CLUSTERS = 1_000
_QUERIES = 20


def measure_filters(
    parts: Sequence[Part], vectors: Float32Array, live: Int64Array, asked: Float32Array
) -> dict[str, Any]:
    """By kind and share: mean recall@10, the most hits missing from a result, and p50 in ms of processor time."""
    chance = np.random.default_rng(2)
    training = faiss.Clustering(vectors.shape[1], _CLUSTERS)
    training.niter, training.seed, training.min_points_per_centroid = 5, 1, 1
    centroids = faiss.IndexFlatIP(vectors.shape[1])
    sample = np.sort(chance.choice(live, min(len(live), 40 * _CLUSTERS), replace=False))
    training.train(vectors[sample], centroids)
    cluster = np.concatenate([centroids.assign(vectors[rows], 1)[:, 0] for rows in np.array_split(live, 20)])
    sizes = np.bincount(cluster, minlength=_CLUSTERS)
    stacks = stacks_of(parts)
    report: dict[str, Any] = {}
    for share in SHARES:
        found: dict[str, list[tuple[float, int, float]]] = {"random": [], "near": [], "far": []}
        for query in asked[:_QUERIES]:
            order = centroids.search(query[None], _CLUSTERS)[1][0]
            allowed = {"random": live[chance.random(len(live)) < share]}
            for name, clusters in (("near", order), ("far", order[::-1])):
                taken = clusters[: 1 + int(np.searchsorted(np.cumsum(sizes[clusters]), share * len(live)))]
                allowed[name] = live[np.isin(cluster, taken)]
            for name, ids in allowed.items():
                found[name].append(_one(parts, stacks, vectors, query, ids))
        for name, results in found.items():
            recalls, missing, times = zip(*results, strict=True)
            report[f"{name} {share:g}"] = {
                "recall": statistics.fmean(recalls), "missing": max(missing), "p50_ms": 1000 * statistics.median(times)
            }  # fmt: skip
    return report


def _one(
    parts: Sequence[Part], stacks: Sequence[Stack], vectors: Float32Array, query: Float32Array, ids: Int64Array
) -> tuple[float, int, float]:
    begin = time.thread_time()
    pool = dense.nearest(parts, query, 10, ids, stacks=stacks)
    seconds = time.thread_time() - begin
    scores = np.concatenate([vectors[block] @ query for block in np.array_split(ids, 1 + len(ids) // 100_000)])
    best = ids[np.argpartition(-scores, min(10, len(ids)) - 1)[:10]]
    return len(np.intersect1d(best, pool.ids)) / len(best), min(10, len(ids)) - len(pool.ids), seconds
