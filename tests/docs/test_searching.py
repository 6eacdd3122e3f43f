"""The pages about searching: their commands and requests run."""

from __future__ import annotations

from collections.abc import Callable


def test_search(run_page: Callable[[str], None]) -> None:
    run_page("docs/search.md")


def test_filters(run_page: Callable[[str], None]) -> None:
    run_page("docs/filters.md")


def test_steering(run_page: Callable[[str], None]) -> None:
    run_page("docs/steering.md")
