"""The page of the Python client: its programs run, and print what it shows."""

from __future__ import annotations

from collections.abc import Callable

from salience.client import Client
from salience.client._methods import Methods
from tests.docs.pages import ROOT


def test_client(run_page: Callable[[str], None]) -> None:
    run_page("docs/client.md")


def test_every_method_is_named() -> None:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    public = {name for name in (*vars(Methods), *vars(Client)) if not name.startswith("_")}
    missing = [name for name in public - {"run", "iterate", "close", "retries"} if f"`{name}`" not in text]
    assert missing == []
