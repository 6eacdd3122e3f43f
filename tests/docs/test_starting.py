"""The first five minutes, and the concepts: their commands, requests and programs run."""

from __future__ import annotations

from collections.abc import Callable


def test_quickstart(run_page: Callable[[str], None]) -> None:
    run_page("docs/quickstart.md")


def test_concepts(run_page: Callable[[str], None]) -> None:
    run_page("docs/concepts.md")
