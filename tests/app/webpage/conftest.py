"""A real browser, and the search page over an API that each test makes up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.webpage.api import SHOWN, usual
from tests.app.webpage.browser import Browser, Page, Site


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser) -> Page:
    return browser.page()


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site(usual)
    yield served
    served.close()


@pytest.fixture
def searched(page: Page, site: Site) -> Page:
    """The page with the hits of "laptop"."""
    page.go(site.url + "?c=goods&q=laptop")
    page.until(f"{SHOWN} === 10 && !('busy' in document.body.dataset)")
    return page
