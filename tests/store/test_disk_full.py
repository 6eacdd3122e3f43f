"""The disk is full: see tests/store/diskfull."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.diskfull import scenarios
from tests.store.diskfull.disk import kinds
from tests.store.diskfull.running import outcomes
from tests.store.diskfull.running import scenarios as names_in


@pytest.fixture(scope="module", params=kinds())
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outcomes(scenarios, request.param, Path(tmp_path_factory.mktemp("disk")))


@pytest.mark.parametrize("name", names_in(scenarios))
def test_a_full_disk_keeps_nothing_half_written_and_all_goes_on_when_there_is_room(
    told: dict[str, str], name: str
) -> None:
    assert not told[name], told[name]
