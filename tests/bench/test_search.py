"""The measurement of searches runs on few passages, and its figures hang together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bench.search
from core.records import Float32Array


def made(rows: int) -> Float32Array:
    vectors = np.random.default_rng(3).standard_normal((rows, 16)).astype(np.float32)
    unit: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def test_every_case_is_measured_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.search, "vectors", made)
    monkeypatch.setattr(bench.search, "real_queries", lambda: made(5))
    for _ in range(2):  # the second time over the directory that the first one filled
        report = bench.search.run(tmp_path / "data", 300, 3)
        assert (report["passages"], report["queries"]) == (300, 3)
        assert {"hybrid", "groups, 1,000 values", "frequent phrases"} <= report["cases"].keys()
        for case in report["cases"].values():
            assert case["total"]["p50"] <= case["total"]["p95"]
            assert {"terms", "score", "fetch", "rest"} <= case["stages"].keys()
            assert all(0 <= stage["p50"] <= case["total"]["p95"] for stage in case["stages"].values())
        hybrid = report["cases"]["hybrid"]["stages"]
        assert hybrid["dense"]["p50"] > 0
        assert hybrid["sparse"]["p50"] > 0
