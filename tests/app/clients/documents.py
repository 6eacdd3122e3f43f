"""The programs that the documentation shows."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tests.app.clients.environment import HERE

DOCUMENT = HERE.parents[2] / "docs" / "embedding-apis.md"


def program(heading: str) -> str:
    """The Python of one chapter."""
    return "\n".join(_blocks(heading, "python"))


def settings(heading: str) -> dict[str, Any]:
    """The settings file of one chapter."""
    return tomllib.loads("\n".join(_blocks(heading, "toml")))


def _blocks(heading: str, language: str) -> list[str]:
    chapter = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", chapter, re.DOTALL)
    assert found, f"{DOCUMENT.name} shows no {language} under {heading}"
    return found
