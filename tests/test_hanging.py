"""Tests that hang are ended and named, and the others go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_TESTS = """
import threading
from concurrent.futures import ThreadPoolExecutor
import pytest

@pytest.fixture
def pool(request):
    never = threading.Event()
    request.addfinalizer(never.set)  # so that this process can end; it is called behind the end of the pool
    with ThreadPoolExecutor(1) as pool:
        pool.submit(never.wait)
        yield pool

def test_that_fails_and_hangs_in_its_fixture(pool):
    assert not "so"

def test_that_hangs():
    never = threading.Event()
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(never.wait).result()
    finally:
        never.set()

def test_that_is_sound():
    pass
"""


def test_each_is_ended_whatever_it_waits_for_and_the_next_begins(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text("from tests import hanging\n\nhanging.AGAIN_SECONDS = 0.5\n")
    (tmp_path / "test_them.py").write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "tests.hanging", "-p", "no:cacheprovider", "--timeout", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "2 failed, 1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    for said in (
        "FAILED test_them.py::test_that_fails_and_hangs_in_its_fixture - AssertionError",
        "ERROR test_them.py::test_that_fails_and_hangs_in_its_fixture - Failed: Timeout (>2.0s)",
        "FAILED test_them.py::test_that_hangs - Failed: Timeout (>2.0s)",
        "PASSED test_them.py::test_that_is_sound",
    ):
        assert said in done.stdout
