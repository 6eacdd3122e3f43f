"""The disk is full under a running service: see disk_full_scenarios.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app import disk_full_scenarios
from tests.store.diskfull.disk import kinds
from tests.store.diskfull.running import outcomes, scenarios


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outcomes(disk_full_scenarios, kinds()[-1], Path(tmp_path_factory.mktemp("disk")))


@pytest.mark.parametrize("name", scenarios(disk_full_scenarios))
def test_a_full_disk_is_a_507_and_the_service_goes_on(told: dict[str, str], name: str) -> None:
    assert not told[name], told[name]
