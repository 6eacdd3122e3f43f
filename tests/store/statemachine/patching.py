"""Unified diffs, applied to the letter: a patch whose lines are not there, or twice, is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class DoesNotApply(Exception):
    """The program is another than the one that the patch was made for."""


def apply(patch: str, folder: Path) -> None:
    """Change the files of `folder` that the patch names (`+++ b/store/commit.py`). Line numbers count for nothing.

    Raises DoesNotApply, and leaves the file as it was.
    """
    for name, before, after in _hunks(patch):
        text = (folder / name).read_text("utf-8")
        if text.count(before) != 1:
            raise DoesNotApply(f"{name} has these lines {text.count(before)} times:\n{before}")
        (folder / name).write_text(text.replace(before, after), "utf-8")


def _hunks(patch: str) -> Iterator[tuple[str, str, str]]:
    """(file, old lines, new lines) of each."""
    name, before, after = "", "", ""
    for line in [*patch.splitlines(keepends=True), "@@"]:
        if line.startswith(("@@", "--- ")):
            if before or after:
                yield name, before, after
            before, after = "", ""
        elif line.startswith("+++ "):
            name = line.split()[1].removeprefix("b/")
        elif line.startswith(("-", " ")):
            before += line[1:]
            if line.startswith(" "):
                after += line[1:]
        elif line.startswith("+"):
            after += line[1:]
