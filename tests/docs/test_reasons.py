"""The page about reasons: its commands and requests run."""

from __future__ import annotations

from collections.abc import Callable


def test_reasons(run_page: Callable[[str], None]) -> None:
    run_page("docs/reasons.md")
