"""The code examples of the public documents of /semantic_embed, run as they stand there but for token and host."""

from __future__ import annotations

import re

import pytest

from tests.app.aleph_alpha.conftest import VERSIONS, Deployment
from tests.app.clients.environment import HERE, run_client


def similarities(deployment: Deployment, version: str, example: str) -> list[float]:
    """What the example prints, in its order."""
    environment = {"AA_TOKEN": deployment.token, "AA_HOST": deployment.address}
    done = run_client(version, str(HERE / "examples" / f"{example}.txt"), environment=environment)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"similarity: (\S+)", done.stdout)]


@pytest.mark.parametrize("version", VERSIONS)
def test_wolves_are_like_wolves(deployment: Deployment, version: str) -> None:
    both_wolves, pack_and_train, wolf_and_train = similarities(deployment, version, "symmetric")
    assert both_wolves > max(pack_and_train, wolf_and_train) + 0.1


@pytest.mark.parametrize("version", VERSIONS)
def test_the_query_finds_the_wolves(deployment: Deployment, version: str) -> None:
    wolves, games = similarities(deployment, version, "asymmetric")
    assert wolves > games + 0.4


@pytest.mark.parametrize("version", VERSIONS)
def test_a_control_makes_the_console_lead_by_more(deployment: Deployment, version: str) -> None:
    television, console = similarities(deployment, version, "unsteered")
    steered_television, steered_console = similarities(deployment, version, "steered")
    assert console > television
    assert steered_console - steered_television > console - television + 0.02
