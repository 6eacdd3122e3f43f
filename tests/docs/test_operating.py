"""The pages for operators: their commands run."""

from __future__ import annotations

from collections.abc import Callable


def test_ingest(run_page: Callable[[str], None]) -> None:
    run_page("docs/ingest.md")


def test_operate(run_page: Callable[[str], None]) -> None:
    run_page("docs/operate.md")


def test_upgrade(run_page: Callable[[str], None]) -> None:
    run_page("docs/upgrade.md")


def test_access(run_page: Callable[[str], None]) -> None:
    run_page("docs/access.md")
