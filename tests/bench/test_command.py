"""How a bench tells what it found: a table, or JSON; and its exit code."""

from __future__ import annotations

import json

import pytest

from bench.command import Report, tell

REPORT: Report = {"speed": {"p50_ms": 1.23456, "count": 3}, "samples": [{"a": 1}], "places": [1, 2], "good": False}


def test_json_is_one_object_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tell(REPORT, as_json=True)
    assert json.loads(capsys.readouterr().out) == REPORT


def test_else_each_figure_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell(REPORT, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["speed", "p50_ms", "1.235"],
        ["speed", "count", "3"],
        ["samples", "1", "(in", "the", "JSON)"],
        ["places", "1,", "2"],
        ["good", "False"],
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_wrong_is_said_and_ends_with_1(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tell({**REPORT, "wrong": ["a write was lost"]}, as_json=as_json)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "wrong: a write was lost\n"
    tell({**REPORT, "wrong": []}, as_json=as_json)
