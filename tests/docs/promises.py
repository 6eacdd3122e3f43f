"""What a page promises of a search's hits, in a comment behind the command, and whether it is kept.

`# first: tv` names the first hit by its id, `# order: tv, radio` the first ones in their order. The command stands on
one line, and prints the hits as text or as JSON.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_PROMISE = re.compile(r"^(?P<command>\S.*?)\s+# (?:first|order): (?P<ids>[\w-]+(?:, [\w-]+)*)$", re.MULTILINE)
_ASKS = re.compile(r"^(?:salience (?:search|explain) |curl .*/search\b).*#(?P<comment>.*)$", re.MULTILINE)
_ORDER = re.compile(r"\b(?:first|last|order|above|behind)\b")
_HIT = re.compile(r"^ ?\d+  \S+  (?:.*  )?(?P<id>\S+)  #\d+\b", re.MULTILINE)  # rank, score, title, id, number


@dataclass(frozen=True, kw_only=True)
class Promise:
    command: str
    ids: tuple[str, ...]
    file: Path  # what the command prints

    def check(self, where: str) -> None:
        """Raises AssertionError unless the hits are those."""
        found = hits(self.file.read_text(encoding="utf-8"))
        assert tuple(found[: len(self.ids)]) == self.ids, f"{where}: {self.command}\nfinds {found}"


def watched(script: str, folder: Path) -> tuple[str, list[Promise]]:
    """The script with the outputs of the commands that promise something also written to files of `folder`."""
    made: list[Promise] = []

    def watch(match: re.Match[str]) -> str:
        file = folder / f"promise-{len(made)}"
        made.append(Promise(command=match["command"], ids=tuple(match["ids"].split(", ")), file=file))
        return f"{match['command']} | tee {shlex.quote(str(file))}"

    return _PROMISE.sub(watch, script), made


def unwatched(script: str) -> list[str]:
    """Commands whose comment speaks of the hits' order in words that nothing checks."""
    return [
        match[0] for match in _ASKS.finditer(script) if _ORDER.search(match["comment"]) and not _PROMISE.match(match[0])
    ]


def hits(printed: str) -> list[str]:
    """The documents of the hits, by id."""
    if printed.startswith("{"):
        return [hit["document_id"] for hit in json.loads(printed)["hits"]]
    return _HIT.findall(printed)
