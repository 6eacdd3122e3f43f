"""What the commands print with: nothing of a table is lost where the terminal is narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.cli.terminal import table

HEADINGS = ("collection", "documents", "model")
CELLS = ("articles-of-the-wire-2024-11-english", "12,345,678", "all-MiniLM-L6-v2")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_names_and_numbers_are_whole_in_any_width(width: int) -> None:
    rows = table(*HEADINGS, numbers=("documents",))
    rows.add_row(*CELLS)
    file = io.StringIO()
    Console(file=file, width=width).print(rows)
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert sorted("".join(shown.split())) == sorted("".join([*HEADINGS, *CELLS]))
    if width == 200:
        assert shown.splitlines()[1].split() == list(CELLS)
