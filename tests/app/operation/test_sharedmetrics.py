"""The folder in which workers keep what they count: there while they are, and gone after them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.operation.process import METRICS_VARIABLE
from app.operation.sharedmetrics import hold, shared_metrics


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_while_the_block_runs(temporary: Path) -> None:
    with shared_metrics() as folder:
        assert os.environ[METRICS_VARIABLE] == str(folder)
        (folder / "counter_1.db").touch()
    assert METRICS_VARIABLE not in os.environ
    assert list(temporary.iterdir()) == []


def test_those_of_killed_processes_are_removed_and_no_other(temporary: Path) -> None:
    left, used, linked, other = (temporary / f"salience-metrics-{name}" for name in ("left", "used", "linked", "other"))
    for folder in (left, used):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    linked.symlink_to(used)
    other.touch()
    program = (
        f"import sys; from app.operation.sharedmetrics import hold; hold({str(used)!r}); print(); sys.stdin.read()"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        worker.stdout.readline()
        with shared_metrics() as folder:
            assert set(temporary.iterdir()) == {used, linked, other, folder}
            assert (used / "counter_1.db").exists()
    finally:
        worker.kill()
        worker.communicate(timeout=60)
    with shared_metrics() as folder:
        assert set(temporary.iterdir()) == {linked, other, folder}


def test_a_folder_that_is_gone_is_no_harm(temporary: Path) -> None:
    hold(str(temporary / "gone"))


def test_a_file_system_without_locks_keeps_no_server_from_starting(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    left = temporary / "salience-metrics-left"
    left.mkdir()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with shared_metrics() as folder:
        hold(str(folder))
        assert set(temporary.iterdir()) == {left, folder}
    assert set(temporary.iterdir()) == {left}, "it may be in use"
