"""Writes Markdown: tables, wrapped paragraphs and blocks of JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

_WIDTH = 100  # of JSON
_LINE = 120


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Ends with a line break."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """`text`, escaped for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def wrapped(text: str) -> str:
    """Paragraphs as lines of 120 characters at most. Ends with a line break."""
    paragraphs = (
        textwrap.fill(" ".join(one.split()), _LINE, break_long_words=False, break_on_hyphens=False)
        for one in text.split("\n\n")
    )
    return "\n\n".join(paragraphs) + "\n"


def json_block(value: Any) -> str:
    """A fenced block of JSON. Values that fit on a line are written on one. Ends with a line break."""
    return f"```json\n{_json(value, '')}\n```\n"


def _json(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= _WIDTH:
        return line
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _json(one, inner) for one in value) + f"\n{indent}]"
    members = (f"{inner}{json.dumps(name)}: {_json(one, inner)}" for name, one in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"
