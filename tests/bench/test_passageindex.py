"""The measurement of collections that an engine holds runs on few passages, and leaves the engine's time out."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.passageindex
import bench.search
from tests.bench.test_search import made


def test_what_is_left_is_salience_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.search, "vectors", made)
    monkeypatch.setattr(bench.search, "real_queries", lambda: made(3))
    monkeypatch.setattr("store.indexreplication.QUIET_ROWS", 1)  # else the tail keeps as few as these
    report = bench.passageindex.run(tmp_path, 300, 3)
    assert report["passages"] == 300
    assert set(report["filled_s"]) == {"auto", "milvus"}
    assert {"hybrid", "dense", "sparse", "filter, 10 %"} <= report["cases"].keys()
    for name, case in report["cases"].items():
        assert 0 < case["total"]["p50"] <= case["total"]["p95"], name
    assert report["cases"]["hybrid"]["stages"]["dense"]["p50"] > 0
