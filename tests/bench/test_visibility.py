"""What another process commits is found, and how long that takes is told."""

from __future__ import annotations

import json

import pytest

from bench.visibility import main


def test_each_commit_is_seen_after_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--passages", "50", "--commits", "5", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["passages"], report["commits"]) == (50, 5)
    assert 0 < report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"] < 5000
