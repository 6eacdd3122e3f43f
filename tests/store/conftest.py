from __future__ import annotations

from collections.abc import Callable

import pytest

from core.records import Collection
from store import Database, Views, failpoints
from tests.store import library


@pytest.fixture
def collection(database: Database) -> Collection:
    return library.create(database)


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something happen once, the first time that a step is reached."""

    def plan(step: str, action: Callable[[], object]) -> None:
        def observe(reached: str) -> None:
            if reached == step:
                monkeypatch.setattr(failpoints, "observer", None)
                action()

        monkeypatch.setattr(failpoints, "observer", observe)

    return plan
