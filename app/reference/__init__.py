"""Generates the reference pages of the documentation from the program itself: `make docs`."""

from __future__ import annotations

from collections.abc import Callable

from app.reference.api import api_page
from app.reference.configuration import configuration_page

PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration_page, "api.md": api_page}
