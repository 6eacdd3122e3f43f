"""The example of attention manipulation is told by leg, before and after."""

from __future__ import annotations

import pytest

from bench.seed_example import LEGS, run
from embedder.local import LocalEncoder


def test_the_factor_moves_the_console_ahead_of_the_television(encoder: LocalEncoder) -> None:
    report = run(encoder)
    for collection in ("alone", "among_others"):
        assert list(report[collection]) == list(LEGS)
        for figures in report[collection].values():
            assert figures["gain"] == pytest.approx(figures["after"] - figures["before"])
        assert report[collection]["dense"]["gain"] > 0
    assert report["among_others"]["hybrid"]["gain"] > 0
