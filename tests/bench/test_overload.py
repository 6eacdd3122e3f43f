"""The bench of overload runs end to end in seconds; and it knows what overload is no reason for."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bench.overload.__main__ import Observed, _wrong, main
from bench.overload.traffic import Outcome


def test_every_figure_is_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.overload.__main__.end_when_told", lambda: None)  # the tests' own process
    main(["--quick", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["peak_a_second"] == max(report["peak_by_clients"].values()) > 0
    assert report["asked_a_second"] == pytest.approx(4 * report["peak_a_second"], abs=0.5)
    assert report["statuses"]["200"] == pytest.approx(report["goodput_a_second"] * report["seconds"], rel=0.1)
    assert all(found["asked"] > 0 for found in report["probes"].values())
    memory = report["memory_mib"]
    assert 100 < memory["before"] <= memory["largest"] + 50
    assert report["dawdling"]["opened"] == {"idle": 50, "slow_loris": 5, "half_requests": 5}
    assert report["dawdling"]["goodput_meanwhile"] > 0
    assert report["wrong"] == []


def test_to_be_told_to_come_later_is_no_fault_and_anything_else_is() -> None:
    good = Outcome(statuses=Counter({"200": 5, "503": 50, "gave up": 3}))
    assert _wrong(good, Observed()) == []
    bad = Outcome(statuses=Counter({"200": 5, "500": 2, "broken": 1}), without_advice=4)
    beside = Observed()
    beside.probes["/livez"] = [(200, 0.1), (0, 5.0)]
    assert _wrong(bad, beside) == [
        "2 times: 500",
        "1 times: broken",
        "4 times: 503 without Retry-After",
        "/livez: no answer",
    ]
