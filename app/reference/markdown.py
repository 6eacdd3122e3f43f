"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Ends with a line break."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """`text` as it can stand in a cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
