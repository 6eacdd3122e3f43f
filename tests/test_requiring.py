"""Tests that cannot run are skipped, or fail where all are required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_TESTS = """
import pytest

@pytest.mark.skipif(True, reason="needs a program")
def test_that_is_marked():
    pass

def test_that_finds_out():
    pytest.skip("needs data")

@pytest.fixture
def model():
    pytest.skip("needs a model")

def test_whose_fixture_finds_out(model):
    pass

@pytest.mark.xfail(strict=True)
def test_that_is_to_fail():
    assert not "so"

def test_that_is_sound():
    pass
"""


def outcome(folder: Path, *options: str) -> str:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_them.py").write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "tests.requiring", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_what_is_missing_is_a_skip_unless_all_are_required(tmp_path: Path) -> None:
    assert "1 passed, 3 skipped, 1 xfailed" in outcome(tmp_path)
    told = outcome(tmp_path, "--require-all")
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in told, told
    for said in (
        "ERROR test_them.py::test_that_is_marked - --require-all: Skipped: needs a program",
        "FAILED test_them.py::test_that_finds_out - --require-all: Skipped: needs data",
        "ERROR test_them.py::test_whose_fixture_finds_out - --require-all: Skipped: needs a model",
    ):
        assert said in told
