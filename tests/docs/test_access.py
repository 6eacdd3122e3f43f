"""The page about keys: its commands run."""

from __future__ import annotations

from collections.abc import Callable


def test_access(run_page: Callable[[str], None]) -> None:
    run_page("docs/access.md")
