"""The pages of the documentation, as blocks: what can be run, what it prints, and what is only shown, and why.

A fence of `sh` is run by bash, `python` by Python, `http` is sent to the server; `text` right behind one of these is
what it prints, with numbers that may differ a little and `...` for anything. A comment `# first: tv` behind a
search says what it finds (`promises.py`). Other fences only show something. One that would be run, and is not, says why
in the comment above it: `<!-- not run: needs make -->`. A comment at the top says what a page needs beforehand:
`<!-- begins with: products, server -->`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("api.md", "configuration.md")
RUN = ("sh", "python", "http")
SHOWN = ("json", "toml", "text", "ini", "yaml", "")
_FENCE = re.compile(r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<kind>\w*)\n(?P<content>.*?)^```$", re.M | re.S)
_NEEDS = re.compile(r"^<!-- begins with: (.+?) -->$", re.MULTILINE)
_PAGE_NOT_RUN = re.compile(r"^<!-- the page is not run: (.+?) -->$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    kind: str
    content: str
    line: int  # of the fence, 1-based
    reason: str | None  # why it is not run
    printed: str | None  # what stands behind it


@dataclass(frozen=True, kw_only=True)
class Page:
    name: str  # "README.md", "docs/search.md"
    needs: tuple[str, ...]
    reason: str | None  # why none of it is run
    blocks: tuple[Block, ...]

    @property
    def to_run(self) -> tuple[Block, ...]:
        if self.reason is not None:
            return ()
        return tuple(block for block in self.blocks if block.kind in RUN and block.reason is None)


def pages() -> list[Page]:
    """Every page that is written by hand."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page_of(file) for file in files if file.name not in GENERATED]


def page_of(file: Path) -> Page:
    text = file.read_text(encoding="utf-8")
    needs, reason = _NEEDS.search(text), _PAGE_NOT_RUN.search(text)
    found = list(_FENCE.finditer(text))
    blocks = []
    for number, match in enumerate(found):
        behind = found[number + 1] if number + 1 < len(found) else None
        follows = behind is not None and behind["kind"] == "text" and not text[match.end() : behind.start()].strip()
        blocks.append(
            Block(
                kind=match["kind"],
                content=match["content"],
                line=text.count("\n", 0, match.start()) + 1,
                reason=match["reason"],
                printed=behind["content"] if follows and behind is not None else None,
            )
        )
    return Page(
        name=str(file.relative_to(ROOT)),
        needs=tuple(needs[1].split(", ")) if needs else (),
        reason=None if reason is None else reason[1],
        blocks=tuple(blocks),
    )
