"""Memory is counted where it is: with its process, and with those that the process has started."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from bench.memory import Peak, proportional, resident

MIB = 2**20


def test_what_a_process_holds_is_its_own() -> None:
    before = resident()
    held = np.ones(64 * MIB, dtype=np.uint8)
    after = resident(os.getpid())
    assert 60 * MIB < after.own - before.own < 80 * MIB
    assert abs(after.mapped - before.mapped) < 16 * MIB
    assert held.any()


def test_what_it_started_counts_and_what_has_ended_does_not() -> None:
    # A shell's child's child holds 64 MiB
    code = "held = bytearray(b'x') * (64 << 20); print('held', flush=True); input()"
    command = ["sh", "-c", f'"{sys.executable}" -c "{code}"; true']
    before = proportional(os.getpid())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        peak = Peak(shell.pid)
        assert proportional(shell.pid) > 64 * MIB
        assert proportional(os.getpid()) - before > 60 * MIB
        shell.communicate("\n")
    peak.end()
    assert proportional(shell.pid) == 0
    assert peak.own < 16 * MIB  # the shell alone
