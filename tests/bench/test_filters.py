"""The measurement of filters runs on few documents, without a model, and its figures hang together."""

from __future__ import annotations

from pathlib import Path

from bench.filters import run


def test_filtered_searches_stand_beside_the_same_without(tmp_path: Path) -> None:
    for _ in range(2):  # the second time over the directory that the first one filled
        report = run(tmp_path / "data", 300, 8)
        assert (report["documents"], report["filters"]) == (300, 8)
        for name in ("unfiltered", "filtered", "filter"):
            assert 0 < report[name]["p50"] <= report[name]["p95"], name
        assert report["filter"]["p50"] < report["filtered"]["p50"]
        assert report["ratio"] == round(report["filtered"]["p95"] / report["unfiltered"]["p95"], 2)
        low, middle, high = report["selectivity"]
        assert 0 <= low <= middle <= high <= 1
        assert low < high
