"""The README's commands run, and print what it shows; its figures are those of the pages that it links to."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.docs.pages import ROOT


def test_the_readme(run_page: Callable[[str], None]) -> None:
    run_page("README.md")


@pytest.mark.parametrize(
    ("row", "page"), [("quality", "quality.md"), ("speed", "operate.md"), ("memory", "operate.md")]
)
def test_its_figures_are_measured_elsewhere(row: str, page: str) -> None:
    said = re.search(rf"^\| {row} \|(.*)\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert said
    figures = re.findall(r"(?<![\w@.])[\d,]*\.?\d+(?= |, )", said[1])
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert figures
    assert [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", text)] == []
