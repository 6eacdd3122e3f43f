"""Processes that a bench starts end with all that they started themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bench.processes
from bench.memory import family

CHILD = "import time; print('child', flush=True); time.sleep(600)"
STUBBORN = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


def test_what_does_not_end_is_killed_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.processes, "_ENDS_SECONDS", 0.2)
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "child\n"
        assert len(family(process.pid)) == 2
        bench.processes.end(process)
        assert process.stdout.read() == ""  # it was the child's, too
