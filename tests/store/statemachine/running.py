"""Runs the machine: here, in several processes at once, and over a copy of the program that has a bug."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.statemachine.machine import Machine

ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = ("core", "store", "migrations", "tests/store")
_HUNT = "from tests.store.statemachine.running import hunt; hunt({runs}, {steps})"


def run(runs: int, steps: int) -> None:
    """Raises what the machine finds, with the steps that lead there."""
    run_state_machine_as_test(Machine, settings=_settings(runs, steps, print_blob=True))


def run_beside(runs: int, steps: int, *, processes: int) -> None:
    """`runs` in each of several processes."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(run, runs, steps) for _ in range(processes)]:
            done.result()


def hunt(runs: int, steps: int) -> None:
    """As `run`, always the same runs, and content with what it finds first."""
    chosen = _settings(runs, steps, derandomize=True, phases=(Phase.generate,), report_multiple_bugs=False)
    run_state_machine_as_test(Machine, settings=chosen)


def copy_program(folder: Path) -> None:
    """As much of it as the machine needs."""
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def hunt_in(folder: Path, *, runs: int, steps: int) -> subprocess.CompletedProcess[str]:
    """`hunt`, over the copy of the program in `folder`."""
    command = [sys.executable, "-c", _HUNT.format(runs=runs, steps=steps)]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=900)


def _settings(runs: int, steps: int, **more: object) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        **more,  # type: ignore[arg-type]  # each has a type of its own
    )
