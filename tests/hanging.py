"""What pytest-timeout leaves to be done so that a test that hangs is ended whatever it waits for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

AGAIN_SECONDS = 30.0  # between two interruptions of a test
_FAILING = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Iterator[None]:
    """Interrupt it again and again: after the first time, a `with` on its way out may wait for threads that hang."""
    done = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_SECONDS)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> Iterator[None]:
    node.stash[_FAILING] = True
    try:
        return (yield)
    finally:
        node.stash[_FAILING] = False


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    """Not because it has failed: pytest-timeout would leave its fixtures all the time in the world."""
    return item.stash.get(_FAILING, False) or None
