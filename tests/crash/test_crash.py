"""Processes die, the power goes: what was acknowledged is there afterwards, once, whole, and found. A short part.

`make test-crash` does the long one, `python -m tests.crash`, and these tests with --thorough.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.campaign import named_steps, scratch
from tests.crash.chain import Chain
from tests.crash.recording import sqlite_library
from tests.crash.running import ROOT
from tests.crash.sabotage import SABOTAGES
from tests.crash.trials import migrating, restoring

SEED = 7
_TRIES = 4  # lives, in each of which a fault has its chance
_FAULTS = {  # and how each is noticed
    "synchronous=NORMAL": {"lost", "half"},
    "directories not synced": {"lost"},
    "row committed before the file is renamed": {"damaged"},
    "no fence for jobs": {"lost", "half", "damaged"},
    "no fence for segments": {"duplicated", "search"},
}
_LONG = ("directories not synced", "no fence for jobs")  # those that have to wait for --thorough


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        thorough = metafunc.config.getoption("--thorough")
        metafunc.parametrize("fault", [fault for fault in _FAULTS if thorough or fault not in _LONG])


@pytest.fixture
def home() -> Iterator[Path]:
    with scratch() as directory:
        yield directory


@pytest.fixture
def recorded() -> None:
    """For what watches SQLite writing."""
    try:
        sqlite_library()
    except OSError as error:
        pytest.skip(str(error))


def test_what_was_acknowledged_survives_kills(home: Path, thorough: bool) -> None:
    chain = Chain(home / "chain", SEED)
    for step in (None, "write.complete", "seal.rows_written", *([None] * 6 if thorough else [])):
        chain.kill(after=30, step=step)
        assert chain.tally.findings == []
    assert chain.tally.acknowledged >= 90
    assert {"write.complete", "seal.rows_written"} <= chain.tally.steps.keys()
    assert chain.tally.searches
    assert chain.tally.segments
    assert chain.tally.indexes.keys() == {"codes", "lists", "graph"}


@pytest.mark.usefixtures("recorded")
def test_what_was_acknowledged_survives_power_cuts(home: Path, thorough: bool) -> None:
    chain = Chain(home / "chain", SEED)
    chain.cut_power(operations=8, count=20 if thorough else 6)
    assert chain.tally.findings == []
    assert chain.tally.searches


@pytest.mark.usefixtures("recorded")
def test_a_restore_can_be_cut_off_anywhere(home: Path, thorough: bool) -> None:
    steps = sorted(step for step in named_steps() if step.startswith("restore")) if thorough else ["restore.renamed"]
    tally = restoring(home, SEED, steps, 10 if thorough else 3)
    assert tally.findings == []
    assert tally.steps.keys() == set(steps)


@pytest.mark.usefixtures("recorded")
def test_an_upgrade_can_be_cut_off_anywhere(home: Path, thorough: bool) -> None:
    steps = sorted(step for step in named_steps() if step.startswith("migrate")) if thorough else ["migrate.upgraded"]
    tally = migrating(home, SEED, steps, 10 if thorough else 3)
    assert tally.findings == []
    assert tally.steps.keys() == set(steps)


@pytest.mark.usefixtures("recorded")
def test_a_program_with_this_fault_would_not_pass(home: Path, fault: str) -> None:
    kinds: set[str] = set()
    for number in range(_TRIES):
        chain = Chain(home / str(number) / "chain", SEED + number, sabotage=fault)
        match fault:
            case "synchronous=NORMAL" | "directories not synced":
                chain.cut_power(operations=8, count=8)
            case "row committed before the file is renamed":
                chain.kill(after=20, step="seal.committed")
            case _:
                chain.survey(operations=25)
        kinds |= chain.tally.counts.keys()
        if kinds:
            break
    assert kinds & _FAULTS[fault], f"it was not noticed; what was: {kinds}: {chain.tally.findings}"


def test_every_fault_can_still_be_put_in() -> None:
    assert _FAULTS.keys() == SABOTAGES.keys()
    for changes in SABOTAGES.values():
        for module, old, new in changes:
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
            assert source.count(old) == 1, f"{module} no longer has {old!r}; name another place for {new!r}"
