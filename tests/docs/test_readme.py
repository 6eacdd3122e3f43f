"""The README's commands run, and print what it shows."""

from __future__ import annotations

from collections.abc import Callable


def test_the_readme(run_page: Callable[[str], None]) -> None:
    run_page("README.md")
